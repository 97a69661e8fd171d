"""The trained policies of all seeds, loaded and played in their environment."""

import functools
import time

import jax

from spin_jax.config.build import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.errors import CheckpointError
from spin_jax.evaluation.scores import summary, together
from spin_jax.from_config import make_evaluator, make_learner
from spin_jax.frozen.load import has_own_frozen, load_frozen
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.workdir import Workdir
from spin_jax.stages.stage import Member, members, seeds_of
from spin_jax.types import ActionSpec


def load_policy(run: RunConfig, team: list[Member], dataset: Dataset, spec: ActionSpec):
    """(learner, states, frozen ASMs) of a finished stage 2; raises CheckpointError where it has not been run."""
    asms = load_frozen(run, team, dataset, spec)
    learner, states = make_learner(run, spec, dataset.num_features), []
    for member, asm in zip(team, asms, strict=True):
        store = CheckpointStore(member.workdir.path / "policy" / "state", keep=1)
        if not store.steps():
            raise CheckpointError(f"No trained policy in {member.workdir.path}: run --stage=policy first.")
        states.append(store.restore(jax.eval_shape(functools.partial(learner.init, jax.random.key(0)), asm.params)))
    return learner, states, asms


def evaluate_policy(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec) -> dict:
    """Play config.eval.final_episodes episodes of the trained policies; the figures are recorded and returned.

    Those of several seeds are put together: the mean and standard deviation of the seeds' means, and their
    interquartile mean with its bootstrap interval (Agarwal et al. 2021).
    """
    team, seeds = members(run, workdir), seeds_of(run, has_own_frozen(run))
    learner, states, asms = load_policy(run, team, dataset, spec)
    begin = time.monotonic()
    with make_evaluator(run, team, learner, asms, seeds, run.eval.final_episodes) as evaluator:
        scores = evaluator(run.train.num_steps, seeds.bundle(states))
    figures = {"seconds": time.monotonic() - begin, "mode": run.eval.mode}
    summaries = [figures | summary(score) for score in scores]
    for member, each in zip(team, summaries, strict=True):
        member.workdir.finish("evaluate", each)
    if len(team) == 1:
        return summaries[0]
    return workdir.finish("evaluate", figures | together([m.run.seed for m in team], scores, run.task, run.bins))
