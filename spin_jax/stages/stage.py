"""A training stage of every seed: where it is, its checkpoints, its metrics."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from spin_jax.config.build import RunConfig
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import MetricsWriter
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.training.seeds import Seeds


class Member(NamedTuple):
    """A run of one seed. With several, it has a workdir of its own, as if it had been run alone."""

    run: RunConfig
    workdir: Workdir


def members(run: RunConfig, workdir: Workdir) -> list[Member]:
    """The runs of the seeds config.seed, config.seed + 1, …; the run itself where there is one.

    Those of several lie in workdir/seed_<seed>; unless config.asm.per_seed, they share the ASM of workdir/asm.
    """
    if run.num_seeds == 1:
        return [Member(run, workdir)]
    team = []
    for seed in range(run.seed, run.seed + run.num_seeds):
        alone = dataclasses.replace(run, seed=seed, num_seeds=1, asm=dataclasses.replace(run.asm, per_seed=False))
        team.append(Member(alone, workdir.member(seed, own_asm=run.asm.per_seed)))
    return team


def seeds_of(run: RunConfig, own_frozen: bool = False) -> Seeds:
    """How the seeds are trained: on accelerators all at once, on CPU one after another, unless configured."""
    at_once = run.seeds_per_batch or (1 if jax.default_backend() == "cpu" else run.num_seeds)
    return Seeds(run.num_seeds, min(at_once, run.num_seeds), own_frozen and run.num_seeds > 1)


class Stage:
    """Stage `name` of every member. Entered, it goes on after `start`, the last step that all of them have saved."""

    def __init__(self, team: Sequence[Member], name: str):
        self._team, self._name = team, name
        keep = 1 if len(team) == 1 else 2  # a kill between two members' saves leaves them a step apart
        self._stores = [CheckpointStore(m.workdir.path / name / "state", keep) for m in team]
        saved = set.intersection(*(set(store.steps()) for store in self._stores))
        self.resumed, self.start = bool(saved), max(saved, default=0)
        self._writers: list[MetricsWriter] = []

    def __enter__(self):
        self._writers = [MetricsWriter(m.workdir.stage(self._name), self.start) for m in self._team]
        return self

    def __exit__(self, *_):
        for writer in self._writers:
            writer.close()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this stage, those before an interruption included."""
        return self._writers[0].seconds

    def begin(self, init: Callable[[int], Any], num_steps: int) -> list[Any]:
        """The members' states at `start`: restored, or init(i) where nothing has been saved."""
        states = [init(i) for i in range(len(self._team))]
        if not self.resumed:
            return states
        if self.start < num_steps:
            log.info(f"{self._name}: going on from step {self.start} of {num_steps}")
        return [store.restore(s, self.start) for store, s in zip(self._stores, states, strict=True)]

    def record(self) -> dict:
        """What was saved beside the first member's state at `start`."""
        return self._stores[0].record(self.start)

    def save(self, step: int, states: Sequence[Any], record: dict):
        for store, state in zip(self._stores, states, strict=True):
            store.save(step, state, record)

    def write(self, step: int, rows: dict | Sequence[dict], seconds: float | None = None):
        """A row of metrics for each member: `rows`, one each, or arrays [members] by name as `fit` hands them out."""
        if isinstance(rows, dict):
            rows = [{name: values[i] for name, values in rows.items()} for i in range(len(self._team))]
        for writer, row in zip(self._writers, rows, strict=True):
            writer.write(step, seconds, **row)

    def has(self, step: int, name: str) -> bool:
        """Whether metric `name` of that step has been written for every member."""
        return all(any(row["step"] == step and name in row for row in writer.rows()) for writer in self._writers)

    def finish(self, summaries: Sequence[dict]):
        for member, summary in zip(self._team, summaries, strict=True):
            member.workdir.finish(self._name, summary)
