"""The planner of the mazes: its actions against all joint actions, its values against bounds and roll-outs."""

import itertools

import jax
import numpy as np
import pytest

from spin_jax.collect.behaviours import BEHAVIOURS
from spin_jax.collect.maze_planner import _grid, make_plan, neighbouring, plan_of
from spin_jax.envs.maze import GOAL, MOVE, MOVES, START, UNIT, in_goal, make_maze, pulls
from spin_jax.envs.pure import advance, begin, seed_data
from spin_jax.envs.tasks import TASKS


def joint_actions(n):
    return np.array(list(itertools.product((0, 1), repeat=n)))


def returns_of(n, act, episodes):
    """[episodes]: returns of act(observation [B, 2]) -> [B, N] in the environment itself."""
    env = make_maze(f"maze_{n}")
    data = np.stack([seed_data(i) for i in range(episodes)])
    state = jax.jit(jax.vmap(lambda d: begin(env, d)))(data)
    step = jax.jit(jax.vmap(lambda s, a, d, t: advance(env, s, a, d, t), (0, 0, 0, None)))
    total, running = np.zeros(episodes), np.ones(episodes, bool)
    for t in range(150):
        state, reward, _, last = step(state, act(np.asarray(state.position) / UNIT), data, t)
        total += np.where(running, reward, 0)
        running &= ~np.asarray(last)
        if not running.any():
            break
    return total


@pytest.mark.parametrize("n", [3, 4, 5, 8, 10])
def test_neighbours_reach_as_far_as_any_joint_action_in_every_direction(n):
    ways = np.stack([np.cos(np.linspace(0, 2 * np.pi, 360)), np.sin(np.linspace(0, 2 * np.pi, 360))])
    few, every = neighbouring(n) @ pulls(n) @ ways, joint_actions(n) @ pulls(n) @ ways
    np.testing.assert_allclose(few.max(0), every.max(0), atol=2 * n)
    assert len(few) == 1 + n * (n - 1 if n % 2 else n // 2)  # each sum once


def test_a_plan_over_all_joint_actions_is_worth_no_more():
    every = make_plan(joint_actions(5)).value(np.array([START]))
    assert plan_of(5).value(np.array([START])) == pytest.approx(every, abs=5e-3)


@pytest.mark.parametrize("n", [3, 7])
def test_values_are_the_returns_of_the_plan(n):
    """The mean of 1 000 episodes against dynamic programming, within half a step's cost and 4 sigma."""
    plan = plan_of(n)
    returns, value = returns_of(n, plan.best, 1_000), plan.value(np.array([START]))[0]
    assert abs(returns.mean() - value) < 0.03 + 4 * returns.std() / 1_000**0.5
    assert returns.min() > 97
    assert plan.values.min() > 99.2  # no position is lost, also where noise pushes into a wall


def test_no_value_is_above_what_the_distance_to_the_goal_allows():
    """A step goes 0.18 at most and costs 0.05; and the last one takes what the environment pays."""
    points = _grid()[0] / UNIT
    distance = np.linalg.norm(points - np.clip(points, *GOAL), axis=-1)
    most = np.minimum(100 - 0.05, 100 - 0.05 * distance / (MOVES * MOVE))
    outside = ~in_goal(_grid()[0])
    assert (plan_of(7).values[outside] <= most[outside] + 1e-3).all()
    below = plan_of(4).value(np.array([(0.262, 0.42)]))[0]  # the goal is one small move away, or two after noise
    assert below == pytest.approx(99.95, abs=2e-3)


@pytest.mark.parametrize("n", [3, 7])
def test_levels_are_worth_their_names(n):
    """Experts at least the published 99.2, medium about half of them, in 300 episodes with 5 % random sub-actions."""
    make = BEHAVIOURS[f"maze_{n}"].make
    means = [
        returns_of(n, make(f"maze_{n}", 2, level, 0.05, np.random.default_rng(0)), 300).mean()
        for level in TASKS[f"maze_{n}"].levels
    ]
    assert means[0] < 5
    assert 30 < means[1] < 75
    assert 99.2 <= means[2] < 99.6


@pytest.mark.parametrize("level", TASKS["maze_5"].levels)
def test_epsilon_is_the_share_of_random_sub_actions(level):
    """Within 4 sigma, against the same level without randomness; 'random' is uniform whatever epsilon says."""
    observation = np.tile(START, (4_000, 1)).astype(np.float32)
    make = BEHAVIOURS["maze_5"].make
    exact, explored = (make("maze_5", 2, level, e, np.random.default_rng(1))(observation) for e in (0.0, 0.4))
    for action in (exact, explored):
        assert action.shape == (4_000, 5)
        assert set(np.unique(action)) <= {0, 1}
    if level == "random":
        assert abs(exact.mean(0) - 0.5).max() < 4 * 0.5 / 4_000**0.5
        return
    share = 0.4 / 2  # a random choice is the planner's own one in two times
    assert (abs((exact != explored).mean(0) - share) < 4 * (share * (1 - share) / 4_000) ** 0.5).all()
    assert "planner" in BEHAVIOURS["maze_5"].card("maze_5", 2, level)["policy"]
