"""The maze against positions worked out by hand, its noise against closed forms, and itself in every way to run it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.envs import maze
from spin_jax.envs.maze import MOVE, START, UNIT, MazeEnv, MazeState, in_units, make_maze, pulls
from spin_jax.envs.pure import advance, begin, seed_data
from spin_jax.envs.vector import VectorEnv, play_episodes
from spin_jax.evaluation.on_device import make_roll_out

SINGLE = MOVE / 2**0.5  # of one of four actuators: two neighbours make the longest sum
RIGHT, UP, LEFT, DOWN, BOTH = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0)


@pytest.fixture(scope="module")
def still():
    """step(position [2], action) -> (position [2], reward, terminal, last) with four actuators and no noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maze, "NOISE_SHARE", 0.0)
        step = jax.jit(make_maze.__wrapped__("maze_4").step)
        step(MazeState(jnp.asarray(in_units(START)), 0), jnp.array(UP), jax.random.key(0))  # is traced here

    def play(position, action, steps=0):
        state, *found = step(MazeState(jnp.asarray(in_units(position)), steps), jnp.array(action), jax.random.key(0))
        return (np.asarray(state.position) / UNIT, *found)

    return play


@pytest.mark.parametrize("n", range(3, 13))
def test_the_longest_sum_of_any_joint_action_is_a_small_move(n):
    """Against all 2^N joint actions; all actuators together cancel out, but for rounding."""
    sums = np.array(list(itertools.product((0, 1), repeat=n))) @ pulls(n)
    assert np.linalg.norm(sums, axis=-1).max() == pytest.approx(MOVE * UNIT, abs=n)
    assert abs(sums[-1]).max() <= n


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((0.7, 0.5), UP, (0.7, 0.5 + 4 * SINGLE)),
        ((0.7, 0.5), BOTH, (0.7 + 4 * SINGLE, 0.5 + 4 * SINGLE)),
        ((0.7, 0.5), (1, 1, 1, 1), (0.7, 0.5)),
        ((0.25, 0.20), UP, (0.25, 0.20 + SINGLE)),  # the second small move would end in the first wall
        ((0.25, 0.34), DOWN, (0.25, 0.34 - SINGLE)),  # the same wall from above
        ((0.45, 0.60), RIGHT, (0.45 + SINGLE, 0.60)),  # the second wall from the left
        ((0.60, 0.60), LEFT, (0.60 - SINGLE, 0.60)),  # and from the right
        ((0.45, 0.85), RIGHT, (0.45 + 4 * SINGLE, 0.85)),  # above it
        ((0.01, 0.10), LEFT, (0.01, 0.10)),
        ((0.90, 0.98), BOTH, (0.90, 0.98)),  # a blocked move does not slide along the border
        ((0.97, 0.10), RIGHT, (0.97, 0.10)),
        ((0.30, 0.02), DOWN, (0.30, 0.02)),
    ],
)
def test_walls_and_borders_stop_a_step(still, start, action, end):
    position, reward, terminal, last = still(start, action)
    np.testing.assert_allclose(position, end, atol=8 / UNIT)
    assert (round(float(reward), 6), bool(terminal), bool(last)) == (-0.05, False, False)


def test_the_goal_pays_once_ends_the_episode_and_is_not_overshot(still):
    position, reward, terminal, last = still((0.275, 0.42), UP)
    np.testing.assert_allclose(position, (0.275, 0.42 + SINGLE), atol=4 / UNIT)  # 0.452: three moves would leave it
    assert (round(float(reward), 4), bool(terminal), bool(last)) == (99.95, True, True)


def test_the_time_limit_is_a_truncation_and_the_goal_in_the_last_step_is_none(still):
    assert [bool(x) for x in still((0.7, 0.5), UP, steps=148)[2:]] == [False, False]
    assert [bool(x) for x in still((0.7, 0.5), UP, steps=149)[2:]] == [False, True]
    assert [bool(x) for x in still((0.275, 0.42), UP, steps=149)[2:]] == [True, True]


def test_a_tenth_of_the_small_moves_goes_up_and_to_the_right():
    """All actuators off, 100 000 steps: share without noise 0.9^4, mean and largest way of noise; 4 sigma."""
    env, n = make_maze("maze_4"), 100_000
    start = MazeState(jnp.asarray(in_units((0.7, 0.5))), 0)
    keys = jax.random.split(jax.random.key(3), n)
    step = jax.jit(jax.vmap(lambda key: env.step(start, jnp.zeros(4, int), key)[0].position))
    way = np.asarray(step(keys)) / UNIT - (0.7, 0.5)
    assert way.min() >= -1 / UNIT
    assert way.max() <= 4 * SINGLE
    assert abs((way.max(-1) < 2 / UNIT).mean() - 0.9**4) < 4 * (0.9**4 * (1 - 0.9**4) / n) ** 0.5
    variance = 4 * (0.1 * SINGLE**2 / 3 - (0.1 * SINGLE / 2) ** 2)
    assert abs(way.mean(0) - 4 * 0.1 * SINGLE / 2).max() < 4 * (variance / n) ** 0.5


def test_alone_in_a_batch_without_compiling_and_behind_the_protocol_an_episode_is_the_same_bit_for_bit():
    env, steps, seeds = make_maze("maze_5"), 12, [7, 2**40 + 7, 9]
    actions = np.random.default_rng(0).integers(0, 2, (steps, len(seeds), 5))
    actions[:, 1] = actions[:, 0]
    data = np.stack([seed_data(seed) for seed in seeds])

    def play(data, actions):
        state = begin(env, data)
        for t in range(steps):
            state, *_ = advance(env, state, actions[t], data, t)
        return env.observe(state)

    batch = np.asarray(jax.jit(jax.vmap(play, (0, 1)))(data, actions))
    assert len(np.unique(batch, axis=0)) == 3  # all 64 bits of a seed count
    with jax.disable_jit():
        np.testing.assert_array_equal(batch[1], play(data[1], jnp.asarray(actions[:, 1])))
    for i, seed in enumerate(seeds):
        host = MazeEnv("maze_5", 2)
        host.reset(seed)
        observation = [host.step(action)[0] for action in actions[:, i]][-1]
        np.testing.assert_array_equal(batch[i], observation)


def test_every_step_of_an_episode_has_noise_of_its_own():
    """All actuators off: a third of the steps moves, and no two by the same way."""
    env = MazeEnv("maze_4", 2)
    position = np.stack([env.reset(1), *(env.step(np.zeros(4))[0] for _ in range(40))])
    ways = np.diff(position, axis=0)
    moved = ways[ways.max(-1) > 2 / UNIT]
    assert 5 < len(moved) < 25
    assert len(np.unique(moved, axis=0)) == len(moved)


@pytest.mark.slow
def test_worker_processes_play_the_same_episodes():
    returns = []
    for workers in (0, 1):
        rng = np.random.default_rng(0)
        with VectorEnv("maze_3", 2, 2, workers, MazeEnv) as envs:
            episodes = play_episodes(envs, lambda o, _, rng=rng: rng.integers(0, 2, (len(o), 3)), [3, 4])
        returns.append(np.concatenate([episode.observation for episode in episodes]))
    np.testing.assert_array_equal(*returns)


@pytest.mark.parametrize(("n", "published"), [(3, -1.8), (15, -7.5)])
def test_uniform_actions_return_what_was_published(n, published):
    """3 000 episodes, 4 sigma; -7.5 with 15 actuators is the lowest return there is."""
    data = np.stack([seed_data(i) for i in range(3_000)])

    def uniform(state, frozen, normaliser, observation, key, step, t):
        return jax.random.bernoulli(jax.random.fold_in(key, t), 0.5, (len(observation), n))

    roll_out = jax.jit(make_roll_out(make_maze(f"maze_{n}"), uniform))
    returns = np.asarray(roll_out(data, (None, None, None), jax.random.key(0), 0))
    assert returns.min() == pytest.approx(-7.5, abs=1e-4)
    assert abs(returns.mean() - published) < 4 * max(returns.std(), 1) / len(returns) ** 0.5


def test_a_picture_shows_walls_goal_path_and_point_with_y_upwards():
    env = MazeEnv("maze_4", 2)
    env.reset(0)
    for action in (RIGHT, RIGHT):
        env.step(np.array(action))
    picture = env.render(200, 400)
    assert picture.shape == (200, 400, 3)
    assert picture.dtype == np.uint8
    at = {name: tuple(picture[round((1 - y) * 199), round(x * 399)]) for name, (x, y) in
          {"wall": (0.1, 0.27), "other wall": (0.52, 0.7), "goal": (0.27, 0.48), "start": (0.27, 0.1),
           "free": (0.8, 0.8)}.items()}  # fmt: skip
    assert at["wall"] == at["other wall"] == (87, 96, 106)
    assert at["goal"] == (45, 164, 78)
    assert at["start"] == (9, 105, 218)
    assert at["free"] == (255, 255, 255)


def test_all_steps_on_the_host_are_one_program():
    """The first one too, so that a time of one step is that of all."""
    env = MazeEnv("maze_13", 2)  # of no other test
    env.reset(0)
    for _ in range(3):
        env.step(np.zeros(13, int))
    assert env._following._cache_size() == 1
