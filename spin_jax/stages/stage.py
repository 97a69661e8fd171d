"""Runs one stage for all seeds: resume point, checkpoints, metrics."""

from collections.abc import Sequence
from typing import Any

from spin_jax.config.sections import RunConfig
from spin_jax.data.stream import TransitionStream
from spin_jax.learners.base import Learner, state_like
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import MetricsWriter
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.members import members, seeds_of
from spin_jax.training import loop
from spin_jax.training.keys import stream
from spin_jax.types import Transition


class Stage:
    """Stage `name` of every seed, which starts or resumes at step `start`, the last step that all seeds have saved.

    States are of all seeds together, as `seeds` bundles them; `frozen` is a sequence with the frozen arrays of each
    seed. Use it as a context manager: metrics are open inside. own_frozen: each seed has its own frozen arrays.
    """

    def __init__(self, name: str, run: RunConfig, workdir: Workdir, own_frozen: bool = False):
        self.name, self.run, self._workdir = name, run, workdir
        self.members, self.seeds = members(run, workdir), seeds_of(run, own_frozen)
        keep = 1 if len(self.members) == 1 else 2  # a kill between two members' saves leaves them a step apart
        self._stores = [CheckpointStore(member.state(name), keep) for member in self.members]
        saved = set.intersection(*(set(store.steps()) for store in self._stores))
        self.resumed, self.start = bool(saved), max(saved, default=0)
        self._writers: list[MetricsWriter] = []

    def __enter__(self) -> "Stage":
        self._writers = [MetricsWriter(member.workdir.stage(self.name), self.start) for member in self.members]
        return self

    def __exit__(self, *_):
        for writer in self._writers:
            writer.close()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this stage, including those before an interruption."""
        return self._writers[0].seconds

    def begin(self, learner: Learner, frozen: Sequence[Any], observation: Any, num_steps: int) -> Any:
        """The state at `start`: restored, or initialised if nothing is saved."""
        if not self.resumed:
            keys = [stream(member.run.seed, f"{self.name}/init") for member in self.members]
            starts = zip(keys, frozen, strict=True)
            return self.seeds.bundle([learner.init(key, arrays, observation) for key, arrays in starts])
        if self.start < num_steps:
            log.info(f"{self.name}: resuming from step {self.start} of {num_steps}")
        likes = [state_like(learner, arrays, observation) for arrays in frozen]
        return self.seeds.bundle([s.restore(like, self.start) for s, like in zip(self._stores, likes, strict=True)])

    def fit(
        self,
        learner: Learner,
        state: Any,
        frozen: Sequence[Any],
        data: Transition | TransitionStream,
        *,
        num_steps: int,
        batch_size: int,
        hooks: Sequence[loop.Hook],
        show: Sequence[str],
    ) -> Any:
        """Trains `state` from `start` to num_steps and returns it; the arguments are those of `training.loop.fit`."""
        if self.start >= num_steps:
            return state
        keys = [stream(member.run.seed, f"{self.name}/loop") for member in self.members]
        return loop.fit(
            learner,
            state,
            self.seeds.bundle_frozen(frozen),
            data,
            self.seeds.bundle(keys),
            num_steps=num_steps,
            batch_size=batch_size,
            max_chunk=self.run.train.max_chunk,
            start_step=self.start,
            seeds=self.seeds,
            on_metrics=self.write,
            hooks=hooks,
            what=self.name,
            show=show,
        )

    def record(self) -> dict:
        """The record that was saved with the first member's state at `start`."""
        return self._stores[0].record(self.start)

    def save(self, step: int, state: Any, record: dict) -> None:
        """Saves a checkpoint of every seed."""
        for store, own in zip(self._stores, self.seeds.split(state), strict=True):
            store.save(step, own, record)

    def write(self, step: int, rows: dict | Sequence[dict], seconds: float | None = None) -> None:
        """Writes a row of metrics for each seed; rows: one dict for each seed, or, as `fit` gives, {name: [seeds]}."""
        if isinstance(rows, dict):
            rows = [{name: values[i] for name, values in rows.items()} for i in range(len(self.members))]
        for writer, row in zip(self._writers, rows, strict=True):
            writer.write(step, seconds, **row)

    def has(self, step: int, name: str) -> bool:
        """Whether metric `name` of a step is written for every seed."""
        return all(any(row["step"] == step and name in row for row in writer.rows()) for writer in self._writers)

    def finish(self, summaries: Sequence[dict]) -> dict:
        """Records the figures of every seed; those of the first seed also stand for the run, and are returned."""
        for member, summary in zip(self.members, summaries, strict=True):
            member.workdir.finish(self.name, summary)
        return self._workdir.finish(self.name, summaries[0])
