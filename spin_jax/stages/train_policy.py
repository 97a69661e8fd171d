"""Algorithm 2: train a light policy on the frozen ASM by offline reinforcement learning, and evaluate it."""

import jax

from spin_jax.config.build import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import on_device
from spin_jax.evaluation.background import Background, is_asynchronous, policy_device
from spin_jax.from_config import make_evaluator, make_learner, make_policy
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.frozen.load import asm_path, encode_log, has_own_frozen, load_frozen
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.stage import Member, Stage, members, seeds_of
from spin_jax.training.loop import Hook, fit
from spin_jax.types import ActionSpec


def train_policy(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec) -> dict:
    """Run or resume stage 2 of all seeds; the final state is the last checkpoint of workdir/policy.

    The summary of the first seed is returned. config.eval.asynchronous: whether evaluation goes on beside training.
    """
    team = members(run, workdir)
    asms = load_frozen(run, team, dataset, spec, make=True)  # where they do not fit, nothing has been written
    learner, num_steps = make_learner(run, spec, dataset.num_features), run.train.num_steps
    seeds, stage = seeds_of(run, has_own_frozen(run)), Stage(team, "policy")
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(member.run.seed), 1)) for member in team]
    waited = stage.record()["eval_seconds"] if stage.resumed else 0.0
    asynchronous = is_asynchronous(run.eval.asynchronous)
    device = policy_device(run.eval.device, asynchronous)

    def clock():
        return stage.seconds, stage.seconds - waited - evaluate.waited

    def report(step, clock, scores):
        seconds, train_seconds = clock
        rows = [dict(return_mean=s.mean, return_std=s.std, normalised_mean=s.normalised_mean) for s in scores]
        stage.write(step, [row | {"train_seconds": train_seconds} for row in rows], seconds)
        shown = ", ".join(f"{score.mean:.1f} ± {score.std:.1f}" for score in scores)
        log.info(f"policy: step {step}, return {shown} ({len(scores[0].returns)} episodes{' each' * (len(team) > 1)})")

    with (
        stage,
        make_evaluator(run, team, learner, asms, seeds, run.eval.episodes, device) as evaluator,
        Background(evaluator, report, clock, asynchronous) as evaluate,
    ):
        state = seeds.bundle(stage.begin(lambda i: learner.init(keys[i][0], asms[i].params), num_steps))

        def save(step, state):
            evaluate.drain(before=step)  # a run that goes on from here makes up for the evaluation of this step alone
            record = {"eval_seconds": waited + evaluate.waited, "asm": asms[0].record["describes"]}
            stage.save(step, seeds.split(state), record)

        due = stage.start % run.eval.every_steps == 0 or stage.start == num_steps
        if due and not stage.has(stage.start, "return_mean"):
            log.info(f"policy: compiling the policy for evaluation, {run.eval.episodes} episodes at once …")
            evaluate(stage.start, state)
        if not stage.resumed:
            save(0, state)
        if stage.start < num_steps:
            data = on_device(dataset.train, asms[0].normaliser)
            policy, beside = make_policy(run, spec, dataset.num_features), asm_path(team[0]).parent / "encodings"
            n_step = run.train.n_step if learner.reads_next else 0
            data = encode_log(policy, asms[0], data, beside, dataset.fingerprint, n_step)
            state = fit(
                learner,
                state,
                seeds.bundle_frozen([asm.params for asm in asms]),
                data,
                seeds.bundle([key[1] for key in keys]),
                num_steps=num_steps,
                batch_size=run.train.batch_size,
                max_chunk=run.train.max_chunk,
                start_step=stage.start,
                seeds=seeds,
                on_metrics=stage.write,
                hooks=[Hook(run.eval.every_steps, evaluate), Hook(run.train.checkpoint_every_steps, save)],
                what="policy",
                show=("critic_loss", "policy_loss"),
            )
        evaluate.drain()
        seconds, eval_seconds = stage.seconds, waited + evaluate.waited
    summaries = [
        _summary(run, member, state, asm, seconds, eval_seconds)
        for member, state, asm in zip(team, seeds.split(state), asms, strict=True)
    ]
    stage.finish(summaries)
    return workdir.finish("policy", summaries[0])


def _summary(run: RunConfig, member: Member, state, asm: FrozenASM, seconds: float, eval_seconds: float) -> dict:
    """The figures of a member; the time is that of all seeds together, as they are trained in one program."""
    distilled = member.workdir.summary("distill")
    return {
        "seconds": seconds + (distilled["seconds"] if distilled else 0.0),
        "eval_seconds": eval_seconds,
        "steps": run.train.num_steps,
        "updates_per_second": run.num_seeds * run.train.num_steps / max(seconds - eval_seconds, 1e-9),
        "parameters": sum(x.size for x in jax.tree.leaves(state.policy)),
        "frozen_parameters": sum(x.size for x in jax.tree.leaves(asm.params)),
    }
