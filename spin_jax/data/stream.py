"""Transitions that stay on disk: Grain shuffles them in blocks of episodes. A resumed run gets the same batches."""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import grain
import jax
import numpy as np

from spin_jax.data.memory import row_bytes
from spin_jax.data.transitions import transitions
from spin_jax.errors import ConfigError, DataError
from spin_jax.types import Episode, Normaliser, Transition, normalise

CHUNK_BYTES = 64_000_000  # most bytes of batches in one call of the compiled program
READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)  # the buffer counts blocks


@dataclasses.dataclass(frozen=True)
class TransitionStream:
    """Batches of the transitions of `episodes` at the positions `rows`, never all in memory.

    Every epoch shuffles the episodes anew and groups them in blocks of `block_episodes`, or of as many as have the
    transitions of a batch, if those are more. The transitions of a block are permuted. Every block gives the same
    number m of batches: m = mean transitions of a block // B, at least 1. So
    batch i is batch i % m of block i // m: a pure function of (seed, data, block_episodes, B, process), and a run that
    is resumed at any step gets the batches of an uninterrupted run.
    If episodes have equal length, an epoch reads each transition once, except for the rest of a block that fills no
    batch (a different rest in every epoch). If lengths differ, a block that is longer than the mean drops more, and a
    shorter one repeats the beginning of its permutation.

    With several processes, each reads every process_count-th episode; B is the batch of one process.
    Raises DataError if there are fewer episodes than processes.
    """

    episodes: Sequence[Episode]  # random access, from several threads
    rows: np.ndarray  # [E] positions in `episodes`
    lengths: np.ndarray  # [E] transitions of each
    block_episodes: int
    normaliser: Normaliser  # applied to observations as they are read
    n_step: int = 1  # of the transitions (types.Transition)
    gamma: float = 1.0  # discount of the rewards inside of an n-step transition
    shard: grain.sharding.ShardOptions = dataclasses.field(
        default_factory=functools.partial(grain.sharding.ShardByJaxProcess, drop_remainder=True)
    )

    def __post_init__(self):
        if len(self.rows) < self.shard.shard_count:
            raise DataError(
                f"{len(self.rows)} training episodes cannot be shared by {self.shard.shard_count} processes: every "
                f"process needs at least one."
            )

    @property
    def num_transitions(self) -> int:
        """T, the number of transitions of all processes together."""
        return int(self.lengths.sum())

    def batches_per_block(self, batch_size: int) -> int:
        """m, the number of batches of a block; the same for every block and every process."""
        return max(1, int(self._episodes_of_a_block(batch_size) * self.lengths.mean()) // batch_size)

    def max_chunk(self, batch_size: int) -> int:
        """The largest number of batches that takes at most CHUNK_BYTES; at least 1."""
        return max(1, CHUNK_BYTES // (batch_size * row_bytes(self.episodes[int(self.rows[0])])))

    def chunks(self, seed: int, batch_size: int, chunk: int, start: int, stop: int) -> Iterator[Transition]:
        """Batches start … stop - 1, `chunk` at a time, as arrays [chunk, B, …]; seed in [0, 2^32).

        Threads read the next blocks in advance.
        """
        per_block = self.batches_per_block(batch_size)
        first, offset = divmod(start, per_block)
        last = -(-stop // per_block)
        blocks = self._blocks(seed, batch_size, last)[first:last]
        with contextlib.closing(iter(blocks.to_iter_dataset(READ))) as blocks:
            # a block is [m, B, …]: take its m batches one by one; of the first block, skip those before `start`
            every = (jax.tree.map(lambda x, i=i: x[i], block) for block in blocks for i in range(per_block))
            batches = itertools.islice(every, offset, None)
            for _ in range(start, stop, chunk):
                yield jax.tree.map(lambda *rows: np.stack(rows), *itertools.islice(batches, chunk))

    def device_chunks(
        self, key: jax.Array, put: Callable, batch_size: int, chunk: int, start: int, stop: int
    ) -> Iterator[Transition]:
        """`chunks` on the devices; each is transferred while the one before it is in use.

        key gives the seed. put(batches) takes this process's batches to the devices. batch_size is that of all
        processes together. Raises ConfigError if the processes do not divide it.
        """
        own, left = divmod(batch_size, self.shard.shard_count)
        if left:
            raise ConfigError(
                f"A batch of {batch_size} rows does not divide among {self.shard.shard_count} processes, each of which "
                f"streams its own episodes."
            )
        ahead = None
        for batches in self.chunks(int(jax.random.bits(key)), own, chunk, start, stop):
            current, ahead = ahead, put(batches)
            if current is not None:
                yield current
        if ahead is not None:
            yield ahead

    @property
    def _rows(self) -> np.ndarray:
        """Positions of this process's episodes; every process has the same number."""
        count = self.shard.shard_count
        return self.rows[self.shard.shard_index : len(self.rows) // count * count : count]

    def _episodes_of_a_block(self, batch_size: int) -> int:
        """Never so few that a batch would repeat transitions, unless this process has no more."""
        return min(max(self.block_episodes, math.ceil(batch_size / self.lengths.mean())), len(self._rows))

    def _blocks(self, seed: int, batch_size: int, count: int) -> grain.MapDataset:
        """Blocks 0 … count - 1 (or a few more), each a Transition of arrays [m, B, …]."""
        rows, shape = self._rows, (self.batches_per_block(batch_size), batch_size)
        block_episodes = self._episodes_of_a_block(batch_size)
        normaliser = jax.tree.map(np.asarray, self.normaliser)

        def read(number):
            episode = self.episodes[int(rows[number])]
            return episode._replace(observation=normalise(normaliser, episode.observation).astype(np.float32))

        def permute(numbers, rng):
            block = transitions([read(number) for number in numbers], self.n_step, self.gamma)
            order = np.resize(rng.permutation(len(block.reward)), shape)
            return jax.tree.map(lambda x: x[order], block)

        epochs = max(1, -(-count * block_episodes // len(rows)))
        order = grain.MapDataset.range(len(rows)).seed(seed).shuffle().repeat(epochs)
        return order.batch(block_episodes).random_map(permute)
