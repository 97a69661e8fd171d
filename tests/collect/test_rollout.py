"""Roll-outs: what a seed means, what survives a kill, and that float16 weights play."""

import itertools

import jax
import numpy as np
import pytest

from spin_jax.collect import rollout
from spin_jax.collect.behaviour_policy import behaviour_policy, load_policy, save_policy, weights_path
from spin_jax.errors import DataError
from spin_jax.models.decqn import greedy, init_decqn
from spin_jax.types import Normaliser, normalise


def play(directory, monkeypatch, workers=0, episodes=3, seed=0, level="medium", probed=False):
    monkeypatch.setattr(rollout, "PIECE", 2)
    done = []
    with rollout.Environments("cheetah_run", 3, workers) as environments:
        if probed:
            assert rollout.measure_speed(environments, episodes, 0.05, seconds=0.2) > 0
        rollout.roll_out(
            directory, environments, level, episodes=episodes, epsilon=0.05, seed=seed, on_episodes=done.append
        )
    return list(rollout.read_pieces(directory)), done


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_damaged_piece_is_named_with_the_way_out(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "0000000.npz"
    rows = {"observation": rng.normal(size=(7, 3)), "action": np.zeros((5, 2), int), "reward": np.arange(5)}
    rows |= {"length": np.array([2, 3]), "terminal": np.array([True, False])}
    np.savez(path, **rows)
    assert [(len(e.reward), len(e.observation), e.terminal) for e in rollout.read_pieces(tmp_path)] == [
        (2, 3, True),
        (3, 4, False),
    ]
    whole = path.read_bytes()
    for lie in (b"", whole[:300], whole.replace(b"PK", b"KP"), b"words"):
        path.write_bytes(lie)
        with pytest.raises(DataError, match=rf"{path} is damaged and cannot be read .*Delete it"):
            list(rollout.read_pieces(tmp_path))
    for name, array in {"reward": np.zeros(4), "terminal": np.array([True]), "length": np.array(["a", "b"])}.items():
        np.savez(path, **rows | {name: array})
        with pytest.raises(DataError, match=rf"{path} is damaged .*Delete it"):
            list(rollout.read_pieces(tmp_path))
    np.savez(path, **{name: array for name, array in rows.items() if name != "reward"})
    with pytest.raises(DataError, match=rf"{path} is damaged .*reward.*Delete it"):
        list(rollout.read_pieces(tmp_path))


class Short:
    """Four environments of which number i plays i + 1 steps and then waits."""

    task, bins, num_envs = "cheetah_run", 3, 4

    def __call__(self, count):
        return self

    def reset(self, seeds):
        self.played = 0
        return np.zeros((4, 17), np.float32)

    def step(self, action):
        self.played += 1
        last = self.played > np.arange(4)
        return np.zeros((4, 17), np.float32), np.zeros(4), last, last


def test_environments_that_wait_do_not_count_as_speed(monkeypatch):
    """Of 4 environments, 4, 3, 2 and 1 play: 250 transitions in 100 steps; each look at the clock takes a second."""
    ticks = itertools.count()
    monkeypatch.setattr(rollout.time, "monotonic", lambda: next(ticks))
    assert rollout.measure_speed(Short(), 4, 0.05, seconds=1000) == pytest.approx(250 / 101)


@pytest.mark.slow
def test_episodes_follow_from_the_seed_alone_and_a_killed_roll_out_goes_on(tmp_path, monkeypatch):
    whole, done = play(tmp_path / "a", monkeypatch)
    assert done == [2, 3]
    assert [len(e.reward) for e in whole] == [1000] * 3
    assert not any(e.terminal for e in whole)  # a time limit is no termination
    workers, _ = play(tmp_path / "b", monkeypatch, workers=2, probed=True)  # measuring the speed changes nothing
    assert all(same(a, b) for a, b in zip(whole, workers, strict=True))
    (tmp_path / "a" / "0000000.npz").unlink()  # as if killed before the first piece was saved
    (tmp_path / "a" / ".0000000.npz.0a.tmp").write_bytes(b"half a piece")
    kept = (tmp_path / "a" / "0000002.npz").stat().st_mtime_ns
    again, done = play(tmp_path / "a", monkeypatch)
    assert done == [3]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["0000000.npz", "0000002.npz"]
    assert (tmp_path / "a" / "0000002.npz").stat().st_mtime_ns == kept
    assert all(same(a, b) for a, b in zip(whole, again, strict=True))
    other, _ = play(tmp_path / "c", monkeypatch, seed=1)
    starts = [e.observation[0].tobytes() for e in whole + other]
    assert len(set(starts)) == 6  # every episode of every seed starts on its own


def test_epsilon_is_the_share_of_random_sub_actions_within_four_sigma():
    observation = np.random.default_rng(0).normal(size=(500, 17)).astype(np.float32)
    best = load_policy(weights_path("cheetah_run", 3, "expert"), 6)(observation)
    act = behaviour_policy("cheetah_run", 3, "expert", 0.3, np.random.default_rng(1))
    changed = np.mean([act(observation) != best for _ in range(4)])
    expected = 0.3 * 2 / 3  # a random choice out of 3 is the best one a third of the time
    assert abs(changed - expected) < 4 * (expected * (1 - expected) / (4 * best.size)) ** 0.5


def test_random_level_is_uniform_within_four_sigma():
    act = behaviour_policy("cheetah_run", 3, "random", 0.0, np.random.default_rng(0))
    share = (act(np.zeros((5000, 17), np.float32)) == 2).mean()
    assert abs(share - 1 / 3) < 4 * (2 / 9 / 30000) ** 0.5


def test_saved_weights_play_as_the_network_they_came_from(tmp_path):
    rng = np.random.default_rng(0)
    critics = [init_decqn(rng, 5, 4, 3, width=16) for _ in range(2)]
    half = jax.tree.map(lambda value: value.astype(np.float16).astype(np.float32), critics)
    normaliser = Normaliser(*(rng.normal(size=5).astype(np.float32) ** 2 + 0.1 for _ in range(2)), np.float32(10))
    save_policy(tmp_path / "p.npz", critics, normaliser, {"task": "none"})
    observation = rng.normal(size=(64, 5)).astype(np.float32)
    expected = greedy(half, normalise(normaliser, observation), 4)
    assert np.array_equal(load_policy(tmp_path / "p.npz", 4)(observation), expected)
    assert len(np.unique(expected)) == 3


def test_a_level_that_is_not_shipped_says_how_to_train_it():
    with pytest.raises(DataError, match="No expert behaviour policy for cheetah_run with 9 bins.*train_behaviour"):
        behaviour_policy("cheetah_run", 9, "expert", 0.0, np.random.default_rng(0))
