"""Loads what stage 2 reads but never trains: the ASM and, for a distilled policy, its student."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import LogFacts
from spin_jax.errors import CheckpointError
from spin_jax.frozen.artefact import FrozenASM, describe, load_asm, params_like
from spin_jax.learners.base import Learner, state_like
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.registry import POLICIES
from spin_jax.types import ActionSpec


def has_own_frozen(run: RunConfig) -> bool:
    """Whether each seed has its own frozen arrays: its own ASM or its own student."""
    return run.asm.per_seed or POLICIES[run.policy].distiller is not None


def frozen_like(run: RunConfig, spec: ActionSpec, num_features: int) -> Any:
    """Shapes and dtypes of what stage 2 reads but never trains (the params of `load_frozen`); nothing is computed."""
    entry = POLICIES[run.policy]
    if not entry.reads_asm:
        return ()
    asm = params_like(spec, num_features, run.asm.model)
    if entry.distiller is None:
        return asm
    learner = entry.distiller(spec, run.asm.model, run.policy_config)
    return {"asm": asm, "student": state_like(learner, (), np.zeros((1, num_features), np.float32)).params}


def load_frozen(
    run: RunConfig, dataset: LogFacts, asms: Sequence[pathlib.Path], students: Sequence[pathlib.Path]
) -> list[FrozenASM]:
    """The frozen arrays of the configured policy, one for each directory in `asms`; equal directories are read once.

    A policy that reads no ASM gets an empty tree and the data's own normaliser. A policy with a distiller gets
    {"asm": …, "student": …}; `students` lists the students' directories in the order of `asms`. Raises CheckpointError,
    naming the stage to run, if something is missing or does not fit.
    """
    entry = POLICIES[run.policy]
    if not entry.reads_asm:
        return [FrozenASM((), dataset.normaliser, {"describes": describe(run, dataset)})] * len(asms)
    loaded = load_asms(run, dataset, asms)
    if entry.distiller is None:
        return loaded
    learner, steps = entry.distiller(dataset.spec, run.asm.model, run.policy_config), run.policy_config.steps
    return [
        asm._replace(params={"asm": asm.params, "student": load_student(path, learner, steps, dataset)})
        for asm, path in zip(loaded, students, strict=True)
    ]


def load_asms(run: RunConfig, dataset: LogFacts, paths: Sequence[pathlib.Path]) -> list[FrozenASM]:
    """The ASM in each directory, at config.asm.epoch; raises CheckpointError as `load_asm` does."""
    read = {path: load_asm(path, run.asm.wanted_epoch, run, dataset) for path in dict.fromkeys(paths)}
    return [read[path] for path in paths]


def load_student(path: pathlib.Path, learner: Learner, steps: int, dataset: LogFacts) -> Any:
    """The parameters of a fully distilled student, from the checkpoints of the stage `distill`.

    Raises CheckpointError if the distillation has not run or not finished.
    """
    store = CheckpointStore(path)
    step = max(store.steps(), default=None)
    if step is None or step < steps:
        found = "no distilled student" if step is None else f"a student that is distilled to step {step} of {steps}"
        raise CheckpointError(f"{path.parent} holds {found}: run --stage=distill first.")
    return store.restore(state_like(learner, (), dataset.blank)).params
