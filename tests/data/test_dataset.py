"""A log as arrays: by hand what becomes of episodes, and what is refused."""

import dataclasses
import pathlib

import numpy as np
import pytest
from episodes import make_episode

from spin_jax.data import dataset, memory
from spin_jax.data.dataset import check_episodes, fit_normaliser, load_dataset
from spin_jax.data.statistics import RunningStatistics
from spin_jax.data.transitions import transitions
from spin_jax.errors import DataError
from spin_jax.types import ActionSpec, normalise, numbered_spaces

SPEC = ActionSpec((2, 3))


def broken(**columns):
    """A good episode with entries replaced: column = {index: value}, or a whole array."""
    episode = make_episode(0)
    for name, change in columns.items():
        if isinstance(change, dict):
            array = getattr(episode, name).copy()
            for index, value in change.items():
                array[index] = value
            change = array
        episode = episode._replace(**{name: change})
    return episode


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        (broken(observation={(2, 1): np.nan}), "observation of episode 1 is nan at step 2, feature 1"),
        (broken(observation={(3, 0): -np.inf}), "observation of episode 1 is -inf at step 3, feature 0"),
        (broken(reward={1: np.nan}), "reward of episode 1 is nan at step 1"),
        (broken(reward={2: np.inf}), "reward of episode 1 is inf at step 2"),
        (broken(observation=np.zeros((4, 5))), "observation of episode 1 has width 5, the task needs 2"),
        (broken(action=np.zeros((3, 1), int)), "action of episode 1 has width 1, the task needs 2"),
        (broken(action={(1, 1): 3}), "action of episode 1, step 1, slot 1 is 3; that slot has choices 0 to 2"),
        (broken(action={(0, 0): 2}), "action of episode 1, step 0, slot 0 is 2; that slot has choices 0 to 1"),
        (broken(action={(2, 0): -1}), "action of episode 1, step 2, slot 0 is -1"),
        (broken(propensity=np.array([0.5, 0, 1])), "propensity of episode 1 is 0.0 at step 1; it must lie in"),
        (broken(propensity=np.array([0.5, 0.1, np.nan])), "propensity of episode 1 is nan at step 2"),
    ],
)
def test_what_cannot_be_trained_on_is_named(episode, message):
    with pytest.raises(DataError, match=f"somewhere: {message}"):
        check_episodes([make_episode(0), episode], SPEC, 2, "somewhere")


def test_good_episodes_pass():
    check_episodes([make_episode(0), make_episode(1, terminal=True)], SPEC, 2, "somewhere")


def test_normaliser_is_numpys_mean_and_deviation():
    x = np.random.default_rng(0).normal([1000.0, -2, 5], [3, 0.1, 0], (5000, 3)).astype(np.float32)
    statistics = RunningStatistics(3)
    for part in np.split(x, [1, 30, 31, 3000]):
        statistics.add(part)
    found = fit_normaliser(statistics)
    np.testing.assert_allclose(found.mean, x.astype(float).mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std, [*x[:, :2].astype(float).std(0), 1], rtol=1e-6)  # a constant keeps its scale
    scaled = normalise(found, x)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(scaled[:, :2].std(0), 1, rtol=1e-3)
    assert normalise(found, x[:1] + 1e6).max() == found.clip == 10


@pytest.mark.parametrize("count", [2, 5, 20, 45])
def test_held_out_episodes_are_never_trained_on(monkeypatch, count):
    """One episode in 20, or the last of fewer; every episode is in exactly one of the two."""
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i) for i in range(count)])
    found = load_dataset("anywhere", "random", SPEC, 2, normalised=True, held_out=0.05)
    assert found.probe_name == "held_out"
    train, held_out = set(found.train.observation[:, 0]), set(found.probe.observation[:, 0])
    assert train | held_out == set(range(count))
    assert not train & held_out
    assert held_out == ({19, 39} & set(range(count)) or {count - 1})
    np.testing.assert_array_equal(found.returns, [3 * i for i in sorted(train)])
    np.testing.assert_allclose(found.normaliser.mean, found.train.observation.mean(0), rtol=1e-5)


@pytest.mark.parametrize("mode", ["memory", "stream"])
@pytest.mark.parametrize(("count", "probed"), [(1, 1), (20, 20), (120, 50)])
def test_with_nothing_held_out_everything_is_trained_on(monkeypatch, mode, count, probed):
    """As published; the probe is then at most 50 episodes from all over the log, if these are long enough."""
    monkeypatch.setattr(dataset, "PROBED_ROWS", 50)
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i, length=1) for i in range(count)])
    found = load_dataset("anywhere", "random", SPEC, 2, normalised=False, held_out=0.0, mode=mode)
    assert found.num_transitions == len(found.returns) == count
    assert found.probe_name == "trained_on"
    probe = found.probe.observation[:, 0]
    assert len(set(probe)) == probed
    assert (probe[0], probe[-1]) == (0, count - 1)


@pytest.mark.parametrize(("length", "probed"), [(1, 300), (100, 100), (1000, 50)])
@pytest.mark.parametrize(("mode", "held_out"), [("memory", 0.0), ("stream", 0.0), ("stream", 0.5)])
def test_of_short_episodes_the_probe_has_more(monkeypatch, mode, held_out, length, probed):
    """About 10 000 rows: 50 decisions would say little of a log of decisions."""
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i, length=length) for i in range(300)])
    found = load_dataset("anywhere", "random", SPEC, 2, normalised=False, held_out=held_out, mode=mode)
    assert len(found.probe_lengths) == min(probed, 300 if held_out == 0 else 150)


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_terminals_can_be_taken_for_time_limits(monkeypatch, mode):
    """The discount of the last step alone changes; the fingerprint is that of the stored log."""
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i, terminal=True) for i in range(3)])
    found, other = (
        load_dataset("anywhere", "random", SPEC, 2, normalised=False, terminals=terminals, mode=mode)
        for terminals in (True, False)
    )
    assert found.fingerprint == other.fingerprint
    discounts = []
    for log in (found.train, other.train):
        table = log if mode == "memory" else transitions([log.episodes[i] for i in log.rows])
        discounts.append(table.discount.reshape(3, -1))
    assert (discounts[0][:, -1] == 0).all()
    assert (discounts[0][:, :-1] == 1).all()
    assert (discounts[1] == 1).all()


def test_names_are_the_data_sets_own_or_numbers_and_never_of_other_spaces(monkeypatch):
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i) for i in range(3)])
    for named in (None, numbered_spaces(2, SPEC)._replace(slots=("drug", "dose"))):
        monkeypatch.setattr(dataset, "read_spaces", lambda directory, named=named: named)
        found = load_dataset("anywhere", "random", SPEC, 2, normalised=False)
        assert found.spaces == (named or numbered_spaces(2, SPEC))
    for other in (numbered_spaces(3, SPEC), numbered_spaces(2, ActionSpec((2, 4)))):
        monkeypatch.setattr(dataset, "read_spaces", lambda directory, other=other: other)
        with pytest.raises(DataError, match=r"spaces\.json names \d features .* the task has 2 and \(2, 3\)"):
            load_dataset("anywhere", "random", SPEC, 2, normalised=False)


def test_fingerprint_follows_every_array(monkeypatch):
    def fingerprint(last):
        monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(0), last])
        return load_dataset("anywhere", "random", SPEC, 2, normalised=False).fingerprint

    changed = [
        broken(observation={(0, 0): 0.5}),
        broken(action={(0, 0): 1}),
        broken(reward={0: 0.5}),
        broken(terminal=True),
    ]
    assert fingerprint(make_episode(0)) == fingerprint(make_episode(0))
    assert len({fingerprint(e) for e in (make_episode(0), *changed)}) == 5


def test_observations_are_left_alone_when_not_normalised(monkeypatch):
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i) for i in range(3)])
    found = load_dataset("anywhere", "random", SPEC, 2, normalised=False)
    np.testing.assert_array_equal(normalise(found.normaliser, found.train.observation), found.train.observation)
    assert {f.name for f in dataclasses.fields(found)} >= {"train", "probe", "normaliser", "fingerprint", "returns"}


class Counting(list):
    """A source that counts what was read."""

    def __init__(self, episodes):
        super().__init__(episodes)
        self.read = []

    def __getitem__(self, i):
        self.read.append(i)
        return super().__getitem__(i)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("count", [2, 45])
def test_stream_mode_reads_once_and_finds_what_memory_mode_finds(monkeypatch, count, normalised):
    source = Counting([make_episode(i, length=3 + i % 4, terminal=i % 3 == 0) for i in range(count)])
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: source)
    in_memory = load_dataset("anywhere", "random", SPEC, 2, normalised, held_out=0.05)
    source.read.clear()
    streamed = load_dataset("anywhere", "random", SPEC, 2, normalised, held_out=0.05, mode="stream", block_episodes=7)
    sampled = np.linspace(0, count - 1, min(10, count)).astype(int).tolist()  # for how long episodes are
    assert source.read == [*sampled, *range(count)]
    assert streamed.fingerprint == in_memory.fingerprint
    assert streamed.num_transitions == in_memory.num_transitions == len(in_memory.train.reward)
    assert streamed.num_features == in_memory.num_features == 2
    np.testing.assert_array_equal(streamed.returns, in_memory.returns)
    for field in ("probe", "normaliser"):
        for a, b in zip(getattr(streamed, field), getattr(in_memory, field), strict=True):
            np.testing.assert_array_equal(a, b)
    table = transitions([source[i] for i in streamed.train.rows])
    np.testing.assert_array_equal(table.observation, in_memory.train.observation)
    np.testing.assert_array_equal(streamed.train.lengths, [len(source[i].reward) for i in streamed.train.rows])
    assert streamed.train.block_episodes == 7


def test_stream_mode_keeps_few_held_out_episodes_from_all_over_the_log(monkeypatch):
    """100 held-out episodes of 2000, 50 of them kept; none of the other 50 is trained on."""
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: [make_episode(i, length=200) for i in range(2000)])
    found = load_dataset("anywhere", "random", SPEC, 2, normalised=False, held_out=0.05, mode="stream")
    kept = found.probe.observation[::200, 0]
    assert len(kept) == 50
    assert set(kept) <= set(range(19, 2000, 20))
    assert (kept[0], kept[-1]) == (19, 1999)
    assert np.diff(kept).max() == 60
    assert not set(found.train.rows) & set(range(19, 2000, 20))


def test_a_bad_episode_is_named_by_its_place_in_stream_mode_too(monkeypatch):
    episodes = [make_episode(0), make_episode(1), broken(reward={1: np.nan})]
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: episodes)
    with pytest.raises(DataError, match="reward of episode 2 is nan at step 1"):
        load_dataset("anywhere", "random", SPEC, 2, normalised=False, mode="stream")


@pytest.mark.parametrize(("place", "copies"), [("host", 3.3), ("accelerator", 1)])
def test_a_log_that_does_not_fit_is_refused_before_it_is_read(monkeypatch, place, copies):
    """300 episodes of 1000 transitions of 32 bytes: 9.6 MB; accepted with room for exactly that, refused with less."""
    source = Counting([make_episode(0, length=1000)] * 300)
    monkeypatch.setattr(dataset, "EpisodeSource", lambda *_: source)
    size = 300 * 1000 * 32
    monkeypatch.setattr(memory, "free_memory", lambda: {place: int(copies * size) - 1000})
    with pytest.raises(DataError, match=f"0.0 GB of the {place}, where 0.0 GB are free.*--config.data.mode=stream"):
        load_dataset("anywhere", "random", SPEC, 2, normalised=False)
    assert len(source.read) == 10
    load_dataset("anywhere", "random", SPEC, 2, normalised=False, held_out=0.05, mode="stream")
    monkeypatch.setattr(memory, "free_memory", lambda: {place: int(copies * size) + 1000})
    assert load_dataset("anywhere", "random", SPEC, 2, normalised=False, held_out=0.05).num_transitions == 285_000


def test_both_sizes_are_in_the_message_of_a_log_that_does_not_fit(monkeypatch):
    """10^7 transitions of 32 bytes."""

    class Huge(list):
        def __len__(self):
            return 10_000

        def __getitem__(self, i):
            return make_episode(0, length=1000)

    monkeypatch.setattr(memory, "free_memory", lambda: {"host": 700_000_000})
    with pytest.raises(DataError, match="transitions take 0.3 GB.*takes 1.1 GB of the host, where 0.7 GB are free"):
        memory.check_fits(Huge(), "somewhere")
    monkeypatch.setattr(memory, "free_memory", lambda: {"host": 10**10, "accelerator": 100_000_000})
    with pytest.raises(DataError, match="takes 0.2 GB of the accelerator, where 0.1 GB are free"):
        memory.check_fits(Huge(), "somewhere", devices=2)
    memory.check_fits(Huge(), "somewhere", devices=4)


def test_free_memory_of_the_host_is_what_linux_says():
    meminfo = pathlib.Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("no /proc/meminfo")
    total = int(meminfo.read_text().split()[1]) * 1024
    assert 0 < memory.free_memory()["host"] < total
