"""The replay's n-step transitions by hand, its ring, and that a killed run finds it again."""

import numpy as np
import pytest

from spin_jax.collect.replay import Replay
from spin_jax.errors import WorkdirError

FIELDS = ("observation", "action", "reward", "length", "terminal")


def make(directory, num_envs=1, capacity=16):
    """At least 2 * num_envs episodes of up to 4 steps: S = 1, N = 2."""
    return Replay(directory, capacity, num_envs, episode_steps=4, widths=(1, 2))


def play(replay, episode, length, terminal=False, env=0):
    """An episode whose observation at t is 10 * episode + t, with rewards 1, 2, 4, 8."""
    replay.begin(env, np.array([10.0 * episode]))
    for t in range(length):
        observation = np.array([[10.0 * episode + t + 1]])
        replay.add(observation, np.array([[t, episode]]), np.array([2.0**t]), np.array([terminal and t == length - 1]))


def drawn(replay, n_step, draws=4000):
    """{observation: (action, reward, discount, next observation)} of everything that is ever sampled."""
    batch = replay.sample(np.random.default_rng(0), (draws // 2, 2), n_step, gamma=0.5)
    assert batch.observation.shape == (draws // 2, 2, 1)
    rows = [np.reshape(x, (draws, -1)).tolist() for x in batch]
    return {o[0]: (tuple(a), r[0], d[0], n[0]) for o, a, r, d, n in zip(*rows, strict=True)}


def test_n_step_targets_at_the_end_of_an_episode(tmp_path):
    """3 steps, gamma 0.5. A time limit bootstraps with gamma^(steps left); a termination does not."""
    replay = make(tmp_path)
    play(replay, 1, length=4)
    play(replay, 2, length=3, terminal=True)
    assert replay.size == 7
    assert drawn(replay, 3) == {
        10: ((0, 1), 1 + 1 + 1, 0.125, 13),
        11: ((1, 1), 2 + 2 + 2, 0.125, 14),
        12: ((2, 1), 4 + 4, 0.25, 14),
        13: ((3, 1), 8, 0.5, 14),
        20: ((0, 2), 1 + 1 + 1, 0, 23),
        21: ((1, 2), 2 + 2, 0, 23),
        22: ((2, 2), 4, 0, 23),
    }


def test_one_step_targets_bootstrap_until_the_termination(tmp_path):
    replay = make(tmp_path)
    play(replay, 2, length=3, terminal=True)
    assert drawn(replay, 1) == {20: ((0, 2), 1, 0.5, 21), 21: ((1, 2), 2, 0.5, 22), 22: ((2, 2), 4, 0, 23)}


def test_the_ring_overwrites_the_oldest_episode_and_nothing_of_it_remains(tmp_path):
    """Four slots; the fifth episode is shorter than the first, whose place it takes."""
    replay = make(tmp_path)
    for episode in range(1, 5):
        play(replay, episode, length=4, terminal=True)
    play(replay, 5, length=2)
    assert replay.size == 14
    held = drawn(replay, 3)
    assert {int(o) // 10 for o in held} == {2, 3, 4, 5}
    assert held[50] == ((0, 5), 2, 0.25, 52)
    assert held[51] == ((1, 5), 2, 0.5, 52)


def test_an_episode_that_is_being_written_is_never_overwritten(tmp_path):
    """Environment 0 writes one long episode while environment 1 goes around the ring twice."""
    replay = make(tmp_path, num_envs=2)
    replay.begin(0, np.array([-1.0]))
    slot = replay._open[0]
    for episode in range(8):
        replay.begin(1, np.array([float(episode)]))
        assert replay._open[1] != slot
    assert replay.observation[slot, 0] == -1
    assert sorted(replay.observation[:, 0, 0]) == [-1, 5, 6, 7]


def test_every_transition_is_equally_likely(tmp_path):
    """Each of 7 transitions within 4 sigma of 1 / 7; 20 000 draws."""
    replay, n, p = make(tmp_path), 20_000, 1 / 7
    play(replay, 1, length=4)
    play(replay, 2, length=3)
    observation = replay.sample(np.random.default_rng(1), (n,), 1, 0.5).observation
    values, counts = np.unique(observation, return_counts=True)
    assert len(values) == 7
    assert (np.abs(counts / n - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_a_reopened_replay_holds_the_same_and_goes_on_at_the_oldest(tmp_path):
    replay = make(tmp_path)
    for episode in range(1, 6):
        play(replay, episode, length=3, terminal=episode % 2 == 0)
    reopened = make(tmp_path)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(reopened, field), getattr(replay, field))
    assert drawn(reopened, 2) == drawn(replay, 2)
    play(reopened, 6, length=1)
    assert {int(o) // 10 for o in drawn(reopened, 2)} == {3, 4, 5, 6}


def test_a_damaged_replay_is_named_with_the_way_out_and_no_link_is_followed(tmp_path):
    def open_replay():
        return Replay(tmp_path, 100, 2, 10, (1, 1))

    open_replay()
    path = tmp_path / "reward.npy"
    whole = path.read_bytes()
    for lie in (b"", whole[:20], whole[:-8], b"words"):
        path.write_bytes(lie)
        with pytest.raises(WorkdirError, match=rf"{path} cannot be used .*Delete {tmp_path}: training continues"):
            open_replay()
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(WorkdirError, match="it is a symbolic link"):
        open_replay()
    assert not (tmp_path / "outside").exists()


def test_a_replay_of_another_shape_is_refused(tmp_path):
    make(tmp_path)
    with pytest.raises(ValueError, match="this run needs"):
        make(tmp_path, capacity=40)
