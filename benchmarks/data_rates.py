"""Measures how fast one core delivers transitions: `python -m benchmarks.data_rates --task=dog_trot --json=FILE`.

- reading: whole episodes, read from the shards.
- stream: `data.mode=stream` as in training, batches of 256 shuffled and stacked in chunks.
- resident: `data.mode=memory`, batches of 256 drawn inside a compiled step, with every value read once.

Rates are per second of wall-clock and per second of processor time, as wall-clock is only right on an idle core.
Without a data set in --data_dir, random episodes with the task's shapes are written and read; rates do not depend on
values.
"""

import os

if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, before any library starts its threads

import pathlib
import tempfile
import time
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from absl import flags

from benchmarks.measure import spread, write
from spin_jax import command
from spin_jax.data.dataset import load_dataset
from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.sampler import sample_batch, scaled
from spin_jax.data.shards import EpisodeBuilder, write_shards
from spin_jax.envs.tasks import DM_CONTROL, EPISODE_STEPS
from spin_jax.record.progress import setup_logging
from spin_jax.types import Episode

BATCH = 256
CHUNKS = 10  # chunks of batches in one measurement, so that blocks that are not used up weigh little
BINS = 3
SPLIT = "expert"


def synthetic(directory: str, task: str, episodes: int) -> pathlib.Path:
    """Writes a data set of random episodes with the shapes of `task`, in array_record shards like all others."""
    num_features, num_slots = DM_CONTROL[task].num_features, DM_CONTROL[task].num_slots

    class Synthetic(EpisodeBuilder):
        """Random episodes."""

        VERSION = tfds.core.Version("1.0.0")

        def widths(self):
            return num_features, num_slots, False

        def splits(self):
            return {SPLIT: (episodes, self._random())}

        def _random(self):
            rng = np.random.default_rng(0)
            for _ in range(episodes):
                observation = rng.normal(size=(EPISODE_STEPS + 1, num_features)).astype(np.float32)
                action = rng.integers(0, BINS, (EPISODE_STEPS, num_slots)).astype(np.int32)
                reward = rng.random(EPISODE_STEPS).astype(np.float32)
                yield Episode(observation, action, reward, False)

    builder = Synthetic(data_dir=directory, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    write_shards(builder, min(4, episodes))
    return pathlib.Path(builder.data_path)


def find(data_dir: str, task: str) -> pathlib.Path | None:
    """A prepared data set of the task in `data_dir`; None if there is none."""
    records = pathlib.Path(data_dir).expanduser().glob(f"factorised_dmc/{task}-{BINS}bins-*/*/dataset_info.json")
    return next((path.parent for path in sorted(records)), None)


def make_measures(directory: pathlib.Path, task: str, episodes: int) -> dict:
    """{name: function that runs the measurement once and returns the number of transitions}."""
    split, spec = f"{SPLIT}[:{episodes}]", DM_CONTROL[task].spec(BINS)
    memory, stream = (
        load_dataset(directory, split, spec, DM_CONTROL[task].num_features, True, mode=mode)
        for mode in ("memory", "stream")
    )
    source, key = EpisodeSource(str(directory), split), jax.random.key(0)
    resident, streamed = (cast(Any, scaled(d.train, d.normaliser)) for d in (memory, stream))
    resident = jax.device_put(resident)
    chunk = streamed.max_chunk(BATCH)
    steps = min(CHUNKS * chunk, FLAGS.most // BATCH)
    chunk = min(chunk, steps)

    @jax.jit
    def draw(data, key):
        def step(total, number):
            batch = sample_batch(jax.random.fold_in(key, number), data, BATCH)
            return total + sum(x.sum(dtype=jnp.float32) for x in jax.tree.leaves(batch)), None

        return jax.lax.scan(step, jnp.float32(0), jnp.arange(steps))[0]

    def read():
        return sum(len(episode.reward) for episode in source)

    def read_stream():
        return sum(c.reward.size for c in streamed.chunks(0, BATCH, chunk, 0, steps))

    def sample():
        draw(resident, key).block_until_ready()
        return steps * BATCH

    sample()  # compiles
    return {"reading": read, "stream": read_stream, "resident": sample}


def rates_of(measures: dict, repeats: int) -> dict:
    """{name: {clock: median, min and max of transitions a second}}; interleaved, so that a slow minute hits all."""
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    rates: dict[str, dict[str, list[float]]] = {}
    for _ in range(repeats):
        for name, measure in measures.items():
            begin = {clock: now() for clock, now in clocks.items()}
            count = measure()
            for clock, now in clocks.items():
                rates.setdefault(name, {}).setdefault(clock, []).append(count / (now() - begin[clock]))
    return {name: {clock: spread(r, 0) for clock, r in by_clock.items()} for name, by_clock in rates.items()}


def main(_: list[str]) -> None:
    setup_logging()
    task, found = DM_CONTROL[FLAGS.task], find(FLAGS.data_dir, FLAGS.task)
    with tempfile.TemporaryDirectory() as temporary:
        directory = found or synthetic(temporary, FLAGS.task, FLAGS.episodes)
        rates = rates_of(make_measures(directory, FLAGS.task, FLAGS.episodes), FLAGS.repeats)
    result = {
        "task": FLAGS.task,
        "features": task.num_features,
        "slots": task.num_slots,
        "batch_size": BATCH,
        "episodes": FLAGS.episodes,
        "data": "prepared data set" if found else "random episodes of the task's shapes",
        "repeats": FLAGS.repeats,
        "transitions_per_second": rates,
    }
    print(f"{FLAGS.task}: S {task.num_features}, N {task.num_slots}, {FLAGS.episodes} episodes, {result['data']}")
    print(f"  {'transitions/s, one core':<26}{'median':>12}{'min':>12}{'max':>12}")
    for name, by_clock in rates.items():
        for clock, row in by_clock.items():
            print(f"  {name + ', by ' + clock:<26}{row['median']:>12,.0f}{row['min']:>12,.0f}{row['max']:>12,.0f}")
    write(FLAGS.json, **result)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", "dog_trot", list(DM_CONTROL), "task whose shapes are measured")
    flags.DEFINE_integer("episodes", 60, "episodes to read", lower_bound=2)
    flags.DEFINE_string("data_dir", "~/tensorflow_datasets", "where TFDS data sets are kept")
    flags.DEFINE_string("json", "", "also write the result to this file")
    flags.DEFINE_integer("most", 10**9, "transitions of a measurement at most", lower_bound=BATCH)
    flags.DEFINE_integer("repeats", 7, "measurements of each", lower_bound=1)
    command.run(main)
