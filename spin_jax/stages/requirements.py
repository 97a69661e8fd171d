"""What the later stages of a run would refuse, refused before the first of them begins."""

import pathlib
from collections.abc import Sequence

from spin_jax.config.build import has_stage
from spin_jax.config.sections import RunConfig
from spin_jax.frozen.artefact import find_epoch
from spin_jax.frozen.body import load_body
from spin_jax.record.processes import first
from spin_jax.record.workdir import Workdir
from spin_jax.stages.members import members, of_asm
from spin_jax.training.mesh import Layout, make_layout
from spin_jax.training.rows import check_shards

READ_ASM = {"distill", "policy", "evaluate", "ope"}


def check_requirements(run: RunConfig, workdir: Workdir, stages: Sequence[str]) -> None:
    """Raises ConfigError if devices, seeds, shards and the batch of a stage do not divide.

    Raises CheckpointError if an ASM, which none of the stages trains, or the ASM whose body one begins with is missing,
    or not finished.
    """
    for layout, batch_size in _layouts(run, stages):
        check_shards(layout, batch_size, run.data.shards)
    first(lambda: _check_asms(run, workdir, stages))


def devices_of_rows(run: RunConfig, stages: Sequence[str]) -> int:
    """Among how many devices the rows of the log may be divided in all of these stages (config.data.shards)."""
    whole = run.data.shards == 1 or "ope" in stages
    return 1 if whole else min((layout.shards for layout, _ in _layouts(run, stages)), default=1)


def _layouts(run: RunConfig, stages: Sequence[str]) -> list[tuple[Layout, int]]:
    """(the layout, the batch) of each stage that trains."""
    return [
        (make_layout(of_stage.num_seeds, batch_size, of_stage.mesh.seed, of_stage.mesh.data), batch_size)
        for of_stage, batch_size in _batches(run, stages)
    ]


def _batches(run: RunConfig, stages: Sequence[str]) -> list[tuple[RunConfig, int]]:
    """(the run of all its seeds, the batch) of each stage that trains."""
    all_stages = {
        "pretrain": (of_asm(run), run.asm.batch_size),
        "distill": (run, getattr(run.policy_config, "batch_size", 0)),
        "policy": (run, run.train.batch_size),
    }
    return [all_stages[name] for name in stages if name in all_stages]


def _check_asms(run: RunConfig, workdir: Workdir, stages: Sequence[str]) -> None:
    if "pretrain" in stages:
        if run.asm.body_path:
            load_body(pathlib.Path(run.asm.body_path).expanduser(), run.asm.model.body)
    elif has_stage(run.policy, "pretrain") and READ_ASM & set(stages):
        for member in members(run, workdir):
            find_epoch(member.asm, run.asm.wanted_epoch)
