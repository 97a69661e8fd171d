"""The single-seed runs that make up a run, and the directories of each."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from spin_jax.config.sections import MeshConfig, RunConfig
from spin_jax.data.dataset import LogFacts
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.frozen.load import load_frozen
from spin_jax.record.inputs import Input, compare_inputs
from spin_jax.record.workdir import Workdir
from spin_jax.registry import POLICIES
from spin_jax.training.seeds import Seeds


class Member(NamedTuple):
    """The run of one seed; in a run of several seeds, each has its own workdir, as if it ran alone."""

    run: RunConfig
    workdir: Workdir

    @property
    def asm(self) -> pathlib.Path:
        """The directory of the ASM: config.asm.path, or where stage 1 of this run saves it."""
        return pathlib.Path(self.run.asm.path).expanduser() if self.run.asm.path else self.workdir.asm

    def state(self, stage: str) -> pathlib.Path:
        """The directory of a stage's checkpoints."""
        return self.workdir.path / stage / "state"


def alone(run: RunConfig) -> RunConfig:
    """The run of one thing that all seeds share, such as their ASM; it lies on all devices along "data"."""
    return dataclasses.replace(run, num_seeds=1, mesh=MeshConfig(seed=0, data=0))


def of_asm(run: RunConfig) -> RunConfig:
    """The run of stage 1: that of all seeds where each trains an ASM of its own, else that of the one they share."""
    return run if run.asm.per_seed else alone(run)


def members(run: RunConfig, workdir: Workdir) -> list[Member]:
    """The runs of the seeds config.seed, config.seed + 1, …; with one seed, only the run itself.

    Several seeds have the workdirs workdir/seed_<seed>; unless config.asm.per_seed, they share the ASM of workdir/asm.
    """
    if run.num_seeds == 1:
        return [Member(run, workdir)]
    team = []
    for seed in range(run.seed, run.seed + run.num_seeds):
        alone = dataclasses.replace(run, seed=seed, num_seeds=1, asm=dataclasses.replace(run.asm, per_seed=False))
        team.append(Member(alone, workdir.member(seed, own_asm=run.asm.per_seed)))
    return team


def seeds_of(run: RunConfig, own_frozen: bool = False) -> Seeds:
    """How one program trains the seeds; own_frozen: each seed has its own frozen arrays."""
    return Seeds(
        num=run.num_seeds,
        at_once=min(run.seeds_per_batch, run.num_seeds),
        own_frozen=own_frozen and run.num_seeds > 1,
    )


def inputs_of(member: Member, dataset: LogFacts, asm: FrozenASM | None = None) -> dict[str, Input]:
    """What a stage of this member is trained on: the log and, in stages that read it, the ASM with its student."""
    run = member.run
    found = {"log": Input(dataset.fingerprint, f"{run.data.path or run.data.dir}, {run.data.level}")}
    if asm is not None and POLICIES[run.policy].reads_asm:
        epoch = asm.record.get("epoch", "unknown")
        found["ASM"] = Input(asm.digest, f"{member.asm}, epoch {epoch}")
    return found


def frozen_of(team: Sequence[Member], dataset: LogFacts) -> list[FrozenASM]:
    """What stage 2 of each member reads but never trains.

    Raises CheckpointError as `load_frozen` does, and WorkdirError if a student was distilled from another ASM or log.
    """
    run, students = team[0].run, [member.state("distill") for member in team]
    found = load_frozen(run, dataset, [member.asm for member in team], students)
    if POLICIES[run.policy].distiller is not None:
        for member, asm, student in zip(team, found, students, strict=True):
            teacher = asm._replace(params=asm.params["asm"])
            compare_inputs(student.parent, inputs_of(member, dataset, teacher))
    return found
