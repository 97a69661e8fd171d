"""Transitions of episodes, by hand: n-step targets, and the rows of the best episodes."""

import jax
import numpy as np
import pytest
from episodes import make_episode

from spin_jax.data.transitions import of_the_best, transitions
from spin_jax.errors import DataError


def test_transitions_by_hand():
    """No transition crosses from one episode into the next; only a termination has discount 0."""
    found = transitions([make_episode(1, 2, terminal=True), make_episode(2, 3)])
    np.testing.assert_array_equal(found.observation, [[1, 0], [1, 1], [2, 0], [2, 1], [2, 2]])
    np.testing.assert_array_equal(found.next_observation, [[1, 1], [1, 2], [2, 1], [2, 2], [2, 3]])
    np.testing.assert_array_equal(found.action, [[0, 0], [1, 1], [0, 0], [1, 1], [0, 2]])
    np.testing.assert_array_equal(found.reward, [1, 1, 2, 2, 2])
    np.testing.assert_array_equal(found.discount, [1, 0, 1, 1, 1])
    assert [x.dtype for x in jax.tree.leaves(found)] == [np.float32, np.int32, np.float32, np.float32, np.float32]


@pytest.mark.parametrize(
    ("share", "rows"),
    [(1.0, [0, 1, 2, 3, 4, 5]), (0.5, [0, 1, 3, 4, 5]), (0.25, [3, 4, 5]), (0.01, [3, 4, 5])],
)
def test_the_rows_of_the_best_episodes_by_hand(share, rows):
    """Episodes of 2, 1, 3 and 0 steps: the third is the best, and of the two that are next, the first."""
    returns, lengths = np.array([5.0, 1.0, 7.0, 5.0]), np.array([2, 1, 3, 0])
    found = of_the_best({"row": np.arange(6), "twice": 2 * np.arange(6)}, returns, lengths, share)
    np.testing.assert_array_equal(found["row"], rows)
    np.testing.assert_array_equal(found["twice"], 2 * np.array(rows))


def test_n_step_transitions_by_hand():
    """Three steps, gamma 1/2: rewards are summed up to the episode's end, which bootstraps unless it is terminal."""
    cut = make_episode(1, 4)._replace(reward=np.array([8, 4, 2, 16], np.float32))
    found = transitions([cut, make_episode(4, 2, terminal=True)], n_step=3, gamma=0.5)
    np.testing.assert_array_equal(found.reward, [10.5, 9, 10, 16, 6, 4])
    np.testing.assert_array_equal(found.discount, [0.25, 0.25, 0.5, 1, 0, 0])
    np.testing.assert_array_equal(found.next_observation, [[1, 3], [1, 4], [1, 4], [1, 4], [4, 2], [4, 2]])
    np.testing.assert_array_equal(found.observation, transitions([cut, make_episode(4, 2)]).observation)
    assert [x.dtype for x in jax.tree.leaves(found)] == [np.float32, np.int32, np.float32, np.float32, np.float32]


@pytest.mark.parametrize("n_step", [1, 2, 7, 10**12])
def test_any_n_step_targets_are_one_step_targets_rolled_out(n_step):
    """Of a made-up V: target_n(t) = r_t + gamma target_{n-1}(t + 1), as long as the episode goes on."""
    rng, gamma, length = np.random.default_rng(0), 0.9, 9
    for terminal in (False, True):
        episode = make_episode(0, length, terminal)._replace(reward=rng.normal(size=length).astype(np.float32))
        value = rng.normal(size=length + 1)
        value[-1] *= not terminal
        expected = value
        for _ in range(min(n_step, 20)):
            expected = np.append(episode.reward + gamma * expected[1:], value[-1])
        found = transitions([episode], n_step, gamma)
        following = value[found.next_observation[:, 1].astype(int)]
        np.testing.assert_allclose(found.reward + gamma * found.discount * following, expected[:-1], rtol=1e-5)


def test_no_episode_is_an_error():
    with pytest.raises(DataError, match="empty"):
        transitions([])
