"""Loads the trained policies of all seeds and plays them in their environment."""

import time
from collections.abc import Sequence
from typing import Any

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset, LogFacts
from spin_jax.errors import CheckpointError
from spin_jax.evaluation.scores import aggregate_seeds, summary
from spin_jax.from_config import make_evaluator, make_learner, make_policy
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.frozen.load import has_own_frozen
from spin_jax.learners.base import Learner, state_like
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.inputs import compare_inputs
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.members import Member, frozen_of, inputs_of, members, seeds_of


def load_policy(
    run: RunConfig, team: Sequence[Member], dataset: LogFacts, step: int | None = None
) -> tuple[Learner, list[Any], list[FrozenASM]]:
    """(learner, states, frozen ASMs) after stage 2, or at one of its kept steps.

    Raises CheckpointError if stage 2 has not run, WorkdirError if it was trained on another log or ASM.
    """
    asms = frozen_of(team, dataset)
    learner, states = make_learner(run, make_policy(run, dataset.spec), dataset.spec), []
    for member, asm in zip(team, asms, strict=True):
        store = CheckpointStore(member.state("policy"), keep=None)
        if not store.steps():
            raise CheckpointError(f"No trained policy in {member.workdir.path}: run --stage=policy first.")
        compare_inputs(member.workdir.path / "policy", inputs_of(member, dataset, asm))
        states.append(store.restore(state_like(learner, asm.params, dataset.blank), step))
    return learner, states, asms


def last_step(run: RunConfig, team: Sequence[Member]) -> int:
    """The last step that is saved of the policies of all seeds; logs it if their training has not ended.

    Raises CheckpointError if stage 2 has not run.
    """
    saved = {member.workdir.path: CheckpointStore(member.state("policy"), keep=None).steps() for member in team}
    common = set.intersection(*map(set, saved.values()))
    if not common:
        where = next((path for path, steps in saved.items() if not steps), team[0].workdir.path)
        raise CheckpointError(f"No trained policy in {where}: run --stage=policy first.")
    step, whole = max(common), run.train.num_steps
    if step < whole:
        log.warning(f"{run.policy} is not trained to its end: what is judged stands at step {step} of {whole}")
    return step


def evaluate_policy(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """Plays config.eval.final_episodes episodes of each trained policy; records and returns the figures.

    Policies that are not trained to their end are judged at the last step that all seeds have saved. Several seeds are
    aggregated: the mean and standard deviation of the seeds' means, and their interquartile mean with
    its bootstrap interval (Agarwal et al. 2021).
    """
    team, seeds = members(run, workdir), seeds_of(run, has_own_frozen(run))
    run_seeds = [member.run.seed for member in team]
    step = last_step(run, team)
    learner, states, asms = load_policy(run, team, dataset, step)
    begin = time.monotonic()
    evaluator = make_evaluator(
        run, learner, asms, seeds, run_seeds, episodes=run.eval.final_episodes, beside_training=False
    )
    with evaluator:
        scores = evaluator(step, seeds.bundle(states))
    figures = {"seconds": time.monotonic() - begin, "mode": run.eval.mode, "step": step}
    figures |= {"num_steps": run.train.num_steps}
    summaries = [figures | summary(score) for score in scores]
    for member, each in zip(team, summaries, strict=True):
        member.workdir.finish("evaluate", each)
    if len(team) == 1:
        return summaries[0]
    return workdir.finish("evaluate", figures | aggregate_seeds(run_seeds, scores, run.task, run.bins))
