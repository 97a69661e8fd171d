"""Batches from disk: nothing lost, nothing twice, and batch i whatever was read before it."""

import dataclasses

import grain
import jax
import numpy as np
import pytest

from spin_jax.data import stream
from spin_jax.data.memory import row_bytes
from spin_jax.data.sampler import scaled
from spin_jax.data.stream import TransitionStream
from spin_jax.data.transitions import transitions
from spin_jax.errors import DataError
from spin_jax.types import Episode, Normaliser, identity_normaliser

ALONE = grain.sharding.ShardOptions(0, 1, drop_remainder=True)


def make_episodes(*lengths):
    """Observation t of episode i is [i, t]; reward 100 i + t names the transition."""
    return [
        Episode(
            np.stack([np.full(n + 1, i), np.arange(n + 1)], 1).astype(np.float32),
            np.stack([np.full(n, i), np.arange(n)], 1).astype(np.int32),
            (100 * i + np.arange(n)).astype(np.float32),
            i % 2 == 0,
        )
        for i, n in enumerate(lengths)
    ]


def make_stream(episodes, block_episodes, rows=None, shard=ALONE, **n_step):
    rows = np.arange(len(episodes)) if rows is None else rows
    lengths = np.array([len(episodes[i].reward) for i in rows])
    return TransitionStream(episodes, rows, lengths, block_episodes, identity_normaliser(2), shard=shard, **n_step)


def read(stream, batch_size, start, stop, seed=3, chunk=1):
    """Batches [stop - start, B, …] of all columns."""
    chunks = list(stream.chunks(seed, batch_size, chunk, start, stop))
    assert all(len(c.reward) == chunk for c in chunks)
    return jax.tree.map(lambda *x: np.concatenate(x), *chunks)


def test_every_epoch_has_every_transition_once_in_another_order():
    """12 episodes of 5 in blocks of 4, batches of 5: 4 batches a block, 12 an epoch, nothing left over."""
    episodes = make_episodes(*[5] * 12)
    batches, table = read(make_stream(episodes, 4), 5, 0, 36), transitions(episodes)
    epochs = batches.reward.reshape(3, 60)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), table.reward)
    assert not np.array_equal(epochs[0], epochs[1])
    blocks = [[tuple(np.unique(block // 100)) for block in epoch.reshape(3, 20)] for epoch in epochs]
    assert all(len(block) == 4 for epoch in blocks for block in epoch)
    assert sorted(blocks[0]) != sorted(blocks[1])  # the groups are new too, not only the order within
    assert min(len(np.unique(b // 100)) for b in batches.reward) >= 2  # a batch mixes episodes


@pytest.mark.parametrize("n_step", [dict(n_step=1, gamma=1.0), dict(n_step=3, gamma=0.5)])
def test_rows_are_those_of_the_table(n_step):
    """Oracle: `transitions` of all episodes, found by the observation that names each."""
    episodes = make_episodes(5, 7, 3, 6)
    batches = read(make_stream(episodes, 2, **n_step), 4, 0, 20)
    table = transitions(episodes, **n_step)
    where = np.searchsorted(table.observation @ [100, 1], batches.observation @ [100, 1])
    jax.tree.map(lambda found, column: np.testing.assert_array_equal(found, column[where]), batches, table)
    assert [x.dtype for x in jax.tree.leaves(batches)] == [x.dtype for x in jax.tree.leaves(table)]


def test_only_the_given_episodes_are_read():
    batches = read(make_stream(make_episodes(*[4] * 6), 2, rows=np.array([0, 2, 5])), 4, 0, 30)
    assert set(np.unique(batches.reward // 100)) == {0, 2, 5}


@pytest.mark.parametrize("lengths", [(5,) * 12, (3, 9, 4, 8, 5, 6, 7)])
@pytest.mark.parametrize(("block_episodes", "batch_size"), [(1, 2), (4, 5), (5, 3), (16, 4), (2, 50)])
def test_reading_from_any_step_gives_what_an_uninterrupted_reader_gets(lengths, block_episodes, batch_size):
    """A new stream object, as after a restart; steps at, before and after the borders of blocks and epochs."""
    whole = read(make_stream(make_episodes(*lengths), block_episodes), batch_size, 0, 48)
    for start, chunk in ((1, 1), (3, 3), (12, 4), (23, 5), (30, 6), (47, 1)):
        again = read(make_stream(make_episodes(*lengths), block_episodes), batch_size, start, 48, chunk=chunk)
        jax.tree.map(lambda a, b, start=start: np.testing.assert_array_equal(a, b[start:]), again, whole)


def test_another_seed_or_block_size_gives_another_order():
    episodes = make_episodes(*[5] * 12)
    orders = [
        read(make_stream(episodes, k), 5, 0, 12, seed).reward for k, seed in ((4, 0), (4, 1), (4, 2**32 - 1), (6, 0))
    ]
    assert all(not np.array_equal(a, b) for i, a in enumerate(orders) for b in orders[:i])


@pytest.mark.parametrize(("batch_size", "distinct"), [(16, 16), (64, 64), (500, 200)])
def test_a_batch_repeats_no_row_as_long_as_there_are_others(batch_size, distinct):
    """Of episodes of one step, a block of 4 has 4 rows: a batch takes as many episodes as it has rows."""
    batches = read(make_stream(make_episodes(*[1] * 200), 4), batch_size, 0, 2)
    for batch in batches.reward:
        assert len(np.unique(batch)) == distinct


def test_a_short_block_begins_again_and_a_long_one_drops_the_rest():
    """Blocks of one episode of 3 or of 7 transitions, mean 5, batches of 5: one batch a block."""
    stream = make_stream(make_episodes(3, 7), 1)
    assert stream.batches_per_block(5) == 1
    for batch in read(stream, 5, 0, 8).reward:
        counts = np.unique(batch, return_counts=True)[1]
        assert sorted(counts) == ([1, 2, 2] if batch[0] < 100 else [1] * 5)


def test_observations_are_normalised_to_the_numbers_of_memory_mode():
    """Bit for bit what `scaled` makes of the same transitions."""
    rng = np.random.default_rng(0)
    episodes = [
        e._replace(observation=rng.normal(5, 3, e.observation.shape).astype(np.float32)) for e in make_episodes(6, 6, 6)
    ]
    normaliser = Normaliser(np.float32([4.7, 5.2]), np.float32([1.3, 2.9]), np.float32(1.5))
    table = scaled(transitions(episodes), normaliser)
    streamed = scaled(make_stream(episodes, 2), jax.device_put(normaliser))
    batches = read(streamed, 4, 0, 9)
    where = np.searchsorted(transitions(episodes).reward, batches.reward)
    for found, column in zip(*map(jax.tree.leaves, (batches, table)), strict=True):
        np.testing.assert_array_equal(found, np.asarray(column)[where])
    assert np.abs(batches.observation).max() == 1.5


def test_processes_share_the_episodes():
    """Three processes, 11 episodes: 3 each, two left out; the same number of batches a block everywhere."""
    episodes, seen = make_episodes(*range(4, 15)), []
    shards = [grain.sharding.ShardOptions(i, 3, drop_remainder=True) for i in range(3)]
    streams = [make_stream(episodes, 2, shard=shard) for shard in shards]
    assert len({s.batches_per_block(3) for s in streams}) == 1
    assert {s.num_transitions for s in streams} == {99}
    for one in streams:
        seen.append(set(np.unique(read(one, 3, 0, 60).reward // 100)))
    assert seen == [{0, 3, 6}, {1, 4, 7}, {2, 5, 8}]
    with pytest.raises(DataError, match="11 training episodes cannot be shared by 12 processes"):
        dataclasses.replace(streams[0], shard=grain.sharding.ShardOptions(0, 12, drop_remainder=True))


def test_the_process_is_the_one_that_jax_names(monkeypatch):
    def default_shard():
        found = TransitionStream(make_episodes(4, 4, 4), np.arange(3), np.full(3, 4), 2, identity_normaliser(2)).shard
        return found.shard_index, found.shard_count

    assert default_shard() == (0, 1)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    assert default_shard() == (1, 3)


def test_chunks_stay_below_their_size(monkeypatch):
    """A transition here: 2 x 2 float32 of state, 2 int32 of action, reward and discount: 32 bytes."""
    stream_ = make_stream(make_episodes(4, 4), 2)
    assert row_bytes(stream_.episodes[0]) == 32
    monkeypatch.setattr(stream, "CHUNK_BYTES", 1000)
    assert [stream_.max_chunk(b) for b in (1, 8, 31, 1000)] == [31, 3, 1, 1]


def test_one_chunk_is_transferred_ahead(monkeypatch):
    made = []

    def chunks(self, *args):
        for i in range(3):
            made.append(i)
            yield np.float32(i)

    monkeypatch.setattr(TransitionStream, "chunks", chunks)
    seen = []
    for chunk in make_stream(make_episodes(4, 4), 2).device_chunks(jax.random.key(0), jax.device_put, 4, 1, 0, 3):
        assert isinstance(chunk, jax.Array)
        seen.append((float(chunk), len(made)))
    assert seen == [(0, 2), (1, 3), (2, 3)]


def test_a_broken_episode_raises_where_it_is_needed():
    class Broken(list):
        def __getitem__(self, i):
            if i == 2:
                raise DataError("Cannot read episode 2")
            return super().__getitem__(i)

    broken = Broken(make_episodes(4, 4, 4))
    stream = TransitionStream(broken, np.arange(3), np.array([4, 4, 4]), 1, identity_normaliser(2), ALONE)
    with pytest.raises(DataError, match="Cannot read episode 2"):
        read(stream, 4, 0, 3)
