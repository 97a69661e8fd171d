"""Runs one stage for all seeds: resume point, checkpoints, metrics."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import LogFacts
from spin_jax.data.stream import TransitionStream
from spin_jax.learners.base import Learner, compiled_init, state_like
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.inputs import Input, compare_inputs, record_inputs
from spin_jax.record.metrics import MetricsWriter
from spin_jax.record.processes import first, is_first
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.members import members, seeds_of
from spin_jax.training import loop, rows
from spin_jax.training.fits import check_update_fits
from spin_jax.training.keys import stream
from spin_jax.training.mesh import make_layout
from spin_jax.types import Transition

TIMES = {"seconds", "eval_seconds", "updates_per_second"}  # of a summary


class Stage:
    """Stage `name` of every seed, which starts or resumes at step `start`, the last step that all seeds have saved.

    States are of all seeds together, as `seeds` bundles them, and lie on the devices as `layout` says; `frozen` is a
    sequence with the frozen arrays of each seed. Use it as a context manager: metrics are open inside. Of several
    processes, all call every method in the same order, and process 0 reads and writes.

    batch_size: rows of a batch of one seed. own_frozen: each seed has its own frozen arrays. Raises ConfigError if
    devices, seeds and batch do not divide.
    """

    def __init__(self, name: str, run: RunConfig, workdir: Workdir, batch_size: int, own_frozen: bool = False):
        self.name, self.run, self._workdir, self._batch_size = name, run, workdir, batch_size
        self.members, self.seeds = members(run, workdir), seeds_of(run, own_frozen)
        self.layout = make_layout(run.num_seeds, batch_size, run.mesh.seed, run.mesh.data)
        keep = 1 if len(self.members) == 1 else 2  # a kill between two members' saves leaves them a step apart
        keep = max(keep, run.train.keep_policies if name == "policy" else 1)
        self._stores = [CheckpointStore(member.state(name), keep) for member in self.members]
        for store, member in zip(self._stores, self.members, strict=True) if is_first() else ():
            if member.workdir.summary(name) is None:  # a finished stage has tidied up itself
                store.tidy()
        saved = first(lambda: sorted(set.intersection(*(set(store.steps()) for store in self._stores))))
        self.resumed, self.start = bool(saved), max(saved, default=0)
        self._writers: list[MetricsWriter] = []
        self._trained = False  # whether `fit` had steps to do
        self._saved = self.start if self.resumed else None  # the step that `save` saved last
        self._shards: int | None = None  # of the rows, if `fit` placed them
        self._inputs: Sequence[Mapping[str, Input]] = ()

    def reads(self, inputs: Sequence[Mapping[str, Input]]) -> None:
        """Says what each seed is trained on; raises WorkdirError if a stage that resumes began with something else.

        Nothing is written before the stage is entered.
        """

        def compare():
            for member, own in zip(self.members, inputs, strict=True):
                compare_inputs(member.state(self.name).parent, own)

        if self.resumed:
            first(compare)
        else:
            self._inputs = inputs

    def __enter__(self) -> "Stage":
        start, before = (self.start, self.record().get("seconds", 0.0)) if self.resumed else (None, 0.0)
        if is_first():
            for member, inputs in zip(self.members, self._inputs, strict=False):  # none where it resumes
                record_inputs(member.workdir.stage(self.name), inputs)
            self._writers = [MetricsWriter(member.workdir.stage(self.name), start, before) for member in self.members]
        return self

    def __exit__(self, *_):
        for writer in self._writers:
            writer.close()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this stage, including those before an interruption; 0 where nothing is written."""
        return self._writers[0].seconds if self._writers else 0.0

    def begin(
        self,
        learner: Learner,
        frozen: Sequence[Any],
        facts: LogFacts,
        num_steps: int,
        encode: Callable | None = None,
    ) -> Any:
        """The state at `start`: restored, or initialised if nothing is saved.

        encode: the policy's, if it has one. Raises ConfigError if the state or a batch cannot fit in memory.
        """
        observation, of_device = facts.blank, math.ceil(self.seeds.num / self.layout.groups)
        like = state_like(learner, frozen[0], observation)  # the same of every seed
        check_update_fits(
            self.name,
            learner,
            like,
            frozen[0],
            (observation.shape[1], facts.spec.num_slots),
            math.ceil(self._batch_size / self.layout.shards),
            of_device,
            min(self.seeds.at_once, of_device),
            encode,
        )
        if not self.resumed:
            keys = [stream(member.run.seed, f"{self.name}/init") for member in self.members]
            init = compiled_init(learner)
            return self._place([init(key, arrays, observation) for key, arrays in zip(keys, frozen, strict=True)])
        if self.start < num_steps:
            log.info(f"{self.name}: resuming from step {self.start} of {num_steps}")
        return self._place([store.restore(like, self.start) for store in self._stores])

    def _place(self, trees: Sequence[Any]) -> Any:
        return self.layout.put(self.seeds.bundle(trees), *self.seeds.axes)

    def fit(
        self,
        learner: Learner,
        state: Any,
        frozen: Sequence[Any],
        data: Transition | TransitionStream,
        *,
        num_steps: int,
        hooks: Sequence[loop.Hook],
        save: Callable[[int, Any], None],
        show: Sequence[str],
    ) -> Any:
        """Trains `state` from `start` to num_steps and returns it.

        data: numpy arrays [T, …] or a stream, with normalised observations. save(step, state) is called if a signal
        ends the run early; the other arguments are those of `training.loop.fit`.
        """
        if self.start >= num_steps:
            return state
        self._trained, layout, seeds = True, self.layout, self.seeds
        if not isinstance(data, TransitionStream):
            self._shards = rows.choose_shards(data, layout, self._batch_size, self._wanted_shards())
            data = rows.place(data, layout, self._shards)
        keys = [stream(member.run.seed, f"{self.name}/loop") for member in self.members]
        return loop.fit(
            learner,
            state,
            layout.put(seeds.bundle_frozen(frozen), *(seeds.axes if seeds.own_frozen else ())),
            data,
            layout.put(seeds.bundle(keys), *seeds.axes),
            num_steps=num_steps,
            batch_size=self._batch_size,
            max_chunk=self.run.train.max_chunk,
            start_step=self.start,
            seeds=seeds,
            layout=layout,
            on_metrics=self.write,
            hooks=hooks,
            on_stop=save,
            what=self.name,
            show=show,
        )

    def _wanted_shards(self) -> int:
        """config.data.shards; of an automatic number, the one that the stage began with, or 0 if it has not begun."""
        begun_with = (self.record().get("shards") or 0) if self.start else 0
        if self.run.data.shards or begun_with <= 1 or begun_with % self.layout.shards == 0:
            return self.run.data.shards or begun_with
        log.warning(
            f"{self.name}: began with the log in {begun_with} shards, which do not divide among {self.layout.shards} "
            f"devices: from here on, batches are others than those of an uninterrupted run."
        )
        return 0

    def record(self) -> dict:
        """The record that was saved with the first member's state at `start`."""
        return first(lambda: self._stores[0].record(self.start))

    def save(self, step: int, state: Any, record: dict) -> None:
        """Saves a checkpoint of every seed; a step that is saved is not written again.

        The record also tells the stage's seconds, and in how many shards the rows lie, as batches depend on it: a
        resumed run goes on with both.
        """
        if step == self._saved:
            return
        self._saved, whole = step, self.layout.host(state)
        if is_first():
            record = record | {"seconds": self.seconds} | ({} if self._shards is None else {"shards": self._shards})
            for store, own in zip(self._stores, self.seeds.split(whole), strict=True):
                store.save(step, own, record)

    def write(self, step: int, found: dict | Sequence[dict], seconds: float | None = None) -> None:
        """Writes a row of metrics for each seed; found: one dict for each seed, or, as `fit` gives, {name: [seeds]}."""
        if isinstance(found, dict):
            found = [{name: values[i] for name, values in found.items()} for i in range(len(self.members))]
        for writer, row in zip(self._writers, found, strict=False):  # no writers but in process 0
            writer.write(step, seconds, **row)

    def has(self, step: int, name: str) -> bool:
        """Whether metric `name` of a step is written for every seed."""
        return first(
            lambda: all(any(row["step"] == step and name in row for row in writer.rows()) for writer in self._writers)
        )

    def finish(self, summaries: Sequence[dict]) -> dict:
        """Records the figures of every seed; those of the first seed also stand for the run, and are returned.

        Each seed's also hold the SHA-256 of its metrics. It and the times are those of the call that trained the stage
        to its end.
        """
        if not is_first():
            return summaries[0]
        earlier = [{} if self._trained else member.workdir.summary(self.name) or {} for member in self.members]
        kept = [{name: old[name] for name in TIMES & old.keys()} for old in earlier]
        summaries = [summary | times for summary, times in zip(summaries, kept, strict=True)]
        self._workdir.finish(self.name, summaries[0])
        for member, summary, writer, old in zip(self.members, summaries, self._writers, earlier, strict=True):
            sha256 = old.get("metrics_sha256") or writer.sha256()
            member.workdir.finish(self.name, summary | {"metrics_sha256": sha256})
        return summaries[0]
