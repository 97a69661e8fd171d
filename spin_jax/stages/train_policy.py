"""Algorithm 2: trains a light policy on the frozen ASM by offline reinforcement learning, and evaluates it."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import scaled
from spin_jax.data.stream import TransitionStream
from spin_jax.data.transitions import of_the_best
from spin_jax.evaluation.background import Background
from spin_jax.evaluation.scores import Score
from spin_jax.from_config import make_evaluator, make_learner, make_policy
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.frozen.encodings import encode_log
from spin_jax.frozen.load import has_own_frozen
from spin_jax.learners.base import Learner
from spin_jax.policies.base import Policy
from spin_jax.record.processes import is_first
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.interface import write_interfaces
from spin_jax.stages.members import frozen_of, inputs_of
from spin_jax.stages.requirements import devices_of_rows
from spin_jax.stages.stage import Stage
from spin_jax.training.loop import Hook
from spin_jax.types import Transition


def train_policy(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """Runs or resumes stage 2 of all seeds; the last checkpoint of workdir/policy is the final state.

    Returns the summary of the first seed. Raises CheckpointError, before anything is written, if what stage 2 reads is
    missing or does not fit, and WorkdirError if the log or the ASM is another one than the stage began with.
    """
    stage = Stage("policy", run, workdir, run.train.batch_size, has_own_frozen(run))
    num_steps = run.train.num_steps
    asms = frozen_of(stage.members, dataset)
    stage.reads([inputs_of(member, dataset, asm) for member, asm in zip(stage.members, asms, strict=True)])
    policy = make_policy(run, dataset.spec)
    learner = make_learner(run, policy, dataset.spec)
    frozen = [asm.params for asm in asms]
    waited = stage.record()["eval_seconds"] if stage.resumed else 0.0  # for evaluations, before a resume

    with stage, evaluating(stage, learner, asms, waited) as evaluate:
        write_interfaces(stage.members, asms, dataset, stage.resumed)
        state = stage.begin(learner, frozen, dataset, num_steps, policy.encode)

        def play(step: int, state: Any):
            evaluate(step, stage.layout.host(state))

        def keep(step: int, state: Any):
            stage.save(step, state, {"eval_seconds": waited + evaluate.waited, "asm": asms[0].record["describes"]})

        def save(step: int, state: Any):
            evaluate.drain(before=step)  # so that a run resumed here repeats at most this step's evaluation
            keep(step, state)

        def stop(step: int, state: Any):
            keep(step, state)  # first: whoever sends SIGTERM may not wait for evaluations
            evaluate.drain(before=step)

        due = stage.start % run.eval.every_steps == 0 or stage.start == num_steps
        if run.simulated and due and not stage.has(stage.start, "return_mean"):
            log.info(f"policy: compiling the policy for evaluation, {run.eval.episodes} episodes at once …")
            play(stage.start, state)
        if not stage.resumed:
            save(0, state)
        if stage.start < num_steps:
            state = stage.fit(
                learner,
                state,
                frozen,
                _encoded_log(stage, dataset, policy, learner, asms[0]),
                num_steps=num_steps,
                hooks=[Hook(run.eval.every_steps, play), Hook(run.train.checkpoint_every_steps, save)],
                save=stop,
                show=("critic_loss", "policy_loss"),
            )
        evaluate.drain()
        return stage.finish(_summaries(stage, state, asms, stage.seconds, waited + evaluate.waited))


@contextlib.contextmanager
def evaluating(stage: Stage, learner: Learner, asms: Sequence[FrozenASM], waited: float) -> Iterator[Background]:
    """Yields evaluate(step, state), which plays the policies of all seeds and writes their scores.

    It works beside training, or training waits for it; of several processes, only process 0 plays. waited: seconds that
    training waited for evaluations before a resume. A row's `seconds` is the time at which its state was handed in;
    train_seconds leaves out the waiting.
    """
    run = stage.run
    if not is_first() or not run.simulated:
        with Background(lambda *_: None, lambda *_: None, lambda: None, asynchronous=False) as nothing:
            yield nothing
        return

    def clock() -> tuple[float, float]:
        return stage.seconds, stage.seconds - waited - evaluate.waited

    def report(step: int, clock: tuple[float, float], scores: list[Score]):
        seconds, train_seconds = clock
        rows = [dict(return_mean=s.mean, return_std=s.std, train_seconds=train_seconds) for s in scores]
        normalised = [{} if s.normalised_mean is None else {"normalised_mean": s.normalised_mean} for s in scores]
        stage.write(step, [row | other for row, other in zip(rows, normalised, strict=True)], seconds)
        shown = ", ".join(f"{score.mean:.1f} ± {score.std:.1f}" for score in scores)
        each = " each" if len(scores) > 1 else ""
        log.info(f"policy: step {step}, return {shown} ({len(scores[0].returns)} episodes{each})")

    evaluator = make_evaluator(
        run,
        learner,
        asms,
        stage.seeds,
        [member.run.seed for member in stage.members],
        episodes=run.eval.episodes,
        beside_training=True,
    )
    with evaluator, Background(evaluator, report, clock, run.eval.asynchronous == "on") as evaluate:
        yield evaluate


def _encoded_log(
    stage: Stage, dataset: Dataset, policy: Policy, learner: Learner, asm: FrozenASM
) -> Transition | TransitionStream:
    """The rows that the learner is trained on, normalised, and with x of their states if the policy has an encoder."""
    encodings_dir = stage.members[0].asm.parent / "encodings"
    n_step = stage.run.train.n_step if learner.asks_next else 0
    data = scaled(dataset.train, asm.normaliser)
    devices = devices_of_rows(stage.run, ["policy"])
    data = encode_log(policy, asm, data, encodings_dir, dataset.fingerprint, n_step, devices)
    return of_the_best(data, dataset.returns, dataset.lengths, stage.run.learner_config.best_share)


def _summaries(stage: Stage, state: Any, asms: Sequence[FrozenASM], seconds: float, eval_seconds: float) -> list[dict]:
    """The figures of every seed; times are of all seeds together, as one program trains them."""
    run, trained = stage.run, sum(x.size for x in jax.tree.leaves(state.policy))
    return [
        {
            "seconds": seconds,
            "eval_seconds": eval_seconds,
            "steps": run.train.num_steps,
            "updates_per_second": run.num_seeds * run.train.num_steps / max(seconds - eval_seconds, 1e-9),
            "parameters": trained // run.num_seeds,
            "frozen_parameters": sum(x.size for x in jax.tree.leaves(asm.params)),
        }
        for asm in asms
    ]
