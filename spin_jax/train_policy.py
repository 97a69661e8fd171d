"""Algorithm 2: train a light policy on the frozen ASM by offline reinforcement learning, and evaluate it."""

import time

import jax
import optax

from spin_jax.checkpoint import CheckpointError, CheckpointStore
from spin_jax.config import RunConfig, num_workers
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import on_device
from spin_jax.evaluate import Evaluator
from spin_jax.frozen import asm_path, encode_log, load_frozen
from spin_jax.learners.base import Learner
from spin_jax.loop import Hook, fit
from spin_jax.metrics import MetricsWriter, log
from spin_jax.policies.base import Policy
from spin_jax.registry import LEARNERS, POLICIES
from spin_jax.types import ActionSpec
from spin_jax.workdir import Workdir


def make_policy(run: RunConfig, spec: ActionSpec, num_features: int) -> Policy:
    """The configured policy; its optimiser follows train.policy_schedule over the steps in which the policy learns."""
    policy = POLICIES[run.policy].make(spec, num_features, run.asm.model, run.policy_config)
    if run.train.policy_schedule == "constant":
        return policy
    steps = max(1, run.train.num_steps - getattr(run.learner_config, "extract_after", 0))
    return policy._replace(optimiser=lambda rate: policy.optimiser(optax.cosine_decay_schedule(rate, steps)))


def make_learner(run: RunConfig, spec: ActionSpec, num_features: int) -> Learner:
    """The configured learner of the configured policy."""
    policy = make_policy(run, spec, num_features)
    return LEARNERS[run.learner].make(policy, spec, num_features, run.learner_config)


def make_evaluator(run: RunConfig, learner: Learner, episodes: int) -> Evaluator:
    """The evaluator that the configuration asks for."""
    return Evaluator(
        learner.act,
        run.task,
        run.bins,
        episodes=episodes,
        greedy=run.eval.mode == "greedy",
        seed=run.seed,
        num_workers=num_workers(run.eval.num_workers),
    )


def train_policy(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec) -> dict:
    """Run or resume stage 2; the final state is the last checkpoint of workdir/policy, the summary is returned."""
    asm = load_frozen(run, workdir, dataset, spec, make=True)  # where it does not fit, nothing has been written
    learner, num_steps = make_learner(run, spec, dataset.num_features), run.train.num_steps
    init_key, train_key = jax.random.split(jax.random.fold_in(jax.random.key(run.seed), 1))
    directory = workdir.stage("policy")
    store = CheckpointStore(directory / "state", keep=1)
    steps = store.steps()
    start = steps[-1] if steps else 0
    eval_seconds = store.record()["eval_seconds"] if start else 0.0

    with MetricsWriter(directory, start) as writer, make_evaluator(run, learner, run.eval.episodes) as evaluator:
        state = learner.init(init_key, asm.params)
        if steps:
            state = store.restore(state, start)
            log.info(f"policy: going on from step {start} of {num_steps}")

        def evaluate(step, state):
            nonlocal eval_seconds
            begin = time.monotonic()
            score = evaluator(step, state, asm.params, asm.normaliser)
            eval_seconds += time.monotonic() - begin
            writer.write(step, return_mean=score.mean, return_std=score.std, normalised_mean=score.normalised_mean)
            log.info(f"policy: step {step}, return {score.mean:.1f} ± {score.std:.1f} ({len(score.returns)} episodes)")

        def save(step, state):
            store.save(step, state, {"eval_seconds": eval_seconds, "asm": asm.record["describes"]})

        if start == 0:
            evaluate(0, state)
            save(0, state)
        if start < num_steps:
            data = on_device(dataset.train, asm.normaliser)
            policy, beside = make_policy(run, spec, dataset.num_features), asm_path(run, workdir).parent / "encodings"
            data = encode_log(policy, asm, data, beside, dataset.fingerprint, learner.reads_next)
            state = fit(
                learner,
                state,
                asm.params,
                data,
                train_key,
                num_steps=num_steps,
                batch_size=run.train.batch_size,
                max_chunk=run.train.max_chunk,
                start_step=start,
                on_metrics=lambda step, metrics: writer.write(step, **metrics),
                hooks=[Hook(run.eval.every_steps, evaluate), Hook(run.train.checkpoint_every_steps, save)],
                what="policy",
                show=("critic_loss", "policy_loss"),
            )
        seconds = writer.seconds
    distilled = workdir.summary("distill")
    summary = {
        "seconds": seconds + (distilled["seconds"] if distilled else 0.0),
        "eval_seconds": eval_seconds,
        "steps": num_steps,
        "updates_per_second": num_steps / max(seconds - eval_seconds, 1e-9),
        "parameters": sum(x.size for x in jax.tree.leaves(state.policy)),
        "frozen_parameters": sum(x.size for x in jax.tree.leaves(asm.params)),
    }
    return workdir.finish("policy", summary)


def load_policy(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec):
    """(learner, state, frozen ASM) of a finished stage 2; raises CheckpointError where it has not been run."""
    asm = load_frozen(run, workdir, dataset, spec)
    learner = make_learner(run, spec, dataset.num_features)
    store = CheckpointStore(workdir.path / "policy" / "state", keep=1)
    if not store.steps():
        raise CheckpointError(f"No trained policy in {workdir.path}: run --stage=policy first.")
    like = jax.eval_shape(lambda: learner.init(jax.random.key(0), asm.params))
    return learner, store.restore(like), asm


def evaluate_policy(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec) -> dict:
    """Play config.eval.final_episodes episodes of the trained policy; the figures are recorded and returned."""
    learner, state, asm = load_policy(run, workdir, dataset, spec)
    begin = time.monotonic()
    with make_evaluator(run, learner, run.eval.final_episodes) as evaluator:
        score = evaluator(run.train.num_steps, state, asm.params, asm.normaliser)
    summary = {
        "seconds": time.monotonic() - begin,
        "mode": run.eval.mode,
        "returns": score.returns.tolist(),
        "return_mean": score.mean,
        "return_std": score.std,
        "return_ci95": score.ci95,
        "normalised_mean": score.normalised_mean,
    }
    return workdir.finish("evaluate", summary)
