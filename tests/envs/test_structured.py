"""The structured problems against enumeration, dynamic programming, and themselves in every way to run them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.config.build import check_task
from spin_jax.envs.pure import advance, begin, seed_data
from spin_jax.envs.structured import (
    HEIGHTS,
    StructuredEnv,
    StructuredState,
    centres,
    expected_return,
    heights,
    make_structured,
    patterns,
)
from spin_jax.envs.structured_names import LISTED, StructuredConfig, is_structured, knobs_of
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import ConfigError
from spin_jax.evaluation.evaluator import Evaluator
from spin_jax.evaluation.on_device import OnDeviceEvaluator
from spin_jax.registry import ENVS, PURE_ENVS
from spin_jax.types import identity_normaliser

STEPS = 20


def right_actions(task):
    knobs = knobs_of(task)
    return patterns(knobs.cardinalities, knobs.num_patterns)


def score(task, height, action):
    """The definition, written once more: (1 - d) share of right slots + d [a whole pattern]."""
    knobs, right = knobs_of(task), right_actions(task)[height]
    alone = sum(choice in right[:, i] for i, choice in enumerate(action)) / knobs.slots
    return (1 - knobs.dependence) * alone + knobs.dependence * any((row == action).all() for row in right)


@pytest.mark.parametrize("dependence", [0.0, 0.3, 1.0])
def test_a_step_climbs_with_the_probability_that_the_score_says(dependence):
    """All 27 joint actions of 3 slots at one height, 4 000 draws each, 4 sigma; certain ones exactly."""
    task, n, height = f"structured_3x3_{dependence}_1.0", 4_000, 5
    env, keys = make_structured(task), jax.random.split(jax.random.key(0), 4_000)
    before = StructuredState(jnp.int32(height), jnp.int32(0), jnp.zeros(10))
    step = jax.jit(jax.vmap(env.step, (None, None, 0)))
    for action in itertools.product(range(3), repeat=3):
        after, reward, *_ = step(before, jnp.array(action), keys)
        up, q = np.asarray(after.height) == height + 1, score(task, height, action)
        assert set(np.unique(after.height)) <= {height + 1, height // 2}
        assert abs(up.mean() - q) <= 4 * (q * (1 - q) / n) ** 0.5 + 1e-9
        np.testing.assert_allclose(reward, np.asarray(after.height) / (HEIGHTS - 1), rtol=1e-6)


def values(task, actions):
    """The best return from each height over T steps, by value iteration over these joint actions of each height."""
    q = np.array([[score(task, h, a) for a in actions(h)] for h in range(HEIGHTS)])
    up, down = np.minimum(np.arange(HEIGHTS) + 1, HEIGHTS - 1), np.arange(HEIGHTS) // 2
    pay, value = np.arange(HEIGHTS) / (HEIGHTS - 1), np.zeros(HEIGHTS)
    for _ in range(STEPS):
        value = (q * (pay + value)[up, None] + (1 - q) * (pay + value)[down, None]).max(1)
    return value


@pytest.mark.parametrize("dependence", [0.0, 0.5, 1.0])
def test_the_optimum_is_that_of_all_joint_actions(dependence):
    """Value iteration over all 5^3, against the closed form sum_t min(c + t, 7) / 7 and against expected_return(1)."""
    task = f"structured_3x5_{dependence}_1.0"
    value = values(task, lambda _: list(itertools.product(range(5), repeat=3)))
    closed = [sum(min(c + t, 7) for t in range(1, STEPS + 1)) / 7 for c in range(HEIGHTS)]
    np.testing.assert_allclose(value, closed, rtol=1e-12)
    assert expected_return(1.0) == pytest.approx(np.mean(closed), rel=1e-12)


def test_without_dependence_slots_chosen_one_by_one_reach_the_optimum_and_with_it_they_do_not():
    """Every slot takes a choice of a pattern, all combinations: at d = 0 each is best, at d = 1 only the patterns."""
    right = right_actions("structured_3x4_0.0_1.0")
    mixed = [a for a in itertools.product(range(4), repeat=3) if all(a[i] in right[4, :, i] for i in range(3))]
    assert len(mixed) == 2**3
    assert {score("structured_3x4_0.0_1.0", 4, a) for a in mixed} == {1.0}
    assert sorted(score("structured_3x4_1.0_1.0", 4, a) for a in mixed) == [0.0] * 6 + [1.0] * 2


@pytest.mark.parametrize(
    ("name", "cardinalities", "num_patterns"),
    [
        ("structured_2x2_0.5_1.0", (2, 2), 2),
        ("structured_64x128_0.5_1.0", (128,) * 64, 8),
        ("structured_5x7-9-100_0.25_1.0", (7, 9, 100, 7, 9), 3),
        (LISTED, (4,) * 8, 2),
    ],
)
def test_a_name_is_a_problem_up_to_its_bounds(name, cardinalities, num_patterns):
    """Facts, patterns in range without a common choice, and a step."""
    assert name in TASKS
    assert name in ENVS
    assert name in PURE_ENVS
    facts, right = TASKS[name], right_actions(name)
    assert facts.slots == cardinalities
    assert facts.spec(3).cardinalities == cardinalities
    assert right.shape == (HEIGHTS, num_patterns, len(cardinalities))
    assert (right < cardinalities).all()
    for one, other in itertools.combinations(right.transpose(1, 0, 2), 2):
        assert (one != other).all()
    env = ENVS[name](name, 3)
    at = heights(env.reset(4)[None])[0]
    observation, reward, terminal, last = env.step(right[at, -1])
    assert heights(observation[None])[0] == min(at + 1, HEIGHTS - 1) == round(reward * (HEIGHTS - 1))
    assert not terminal
    assert not last


def test_every_height_is_seen_by_the_signs_and_starts_are_uniform():
    """4 000 starts, 4 sigma; the noise reaches from -0.5 to 0.5 and is new in every step."""
    env, data = make_structured(LISTED), np.stack([seed_data(i) for i in range(4_000)])
    start = jax.jit(jax.vmap(lambda d: begin(env, d)))(data)
    observation, height = np.asarray(start.observation), np.asarray(start.height)
    np.testing.assert_array_equal(heights(observation), height)
    share = np.bincount(height, minlength=HEIGHTS) / len(height)
    assert abs(share - 1 / HEIGHTS).max() < 4 * (1 / HEIGHTS * (1 - 1 / HEIGHTS) / len(height)) ** 0.5
    noise = observation - centres()[height]
    assert (noise.min(), noise.max()) == (-0.5, 0.5)
    after = jax.jit(jax.vmap(lambda s, d: advance(env, s, jnp.zeros(8, int), d, 0)[0]))(start, data)
    assert abs(np.asarray(after.observation) - centres()[np.asarray(after.height)] - noise).mean() > 0.1


def test_alone_in_a_batch_without_compiling_and_behind_the_protocol_an_episode_is_the_same_bit_for_bit():
    env, seeds = make_structured(LISTED), [7, 2**40 + 7, 9]
    actions = np.random.default_rng(0).integers(0, 4, (STEPS, len(seeds), 8))
    actions[:, 1] = actions[:, 0]
    data = np.stack([seed_data(seed) for seed in seeds])

    def play(data, actions):
        state, found = begin(env, data), []
        for t in range(len(actions)):
            state, *ending = advance(env, state, actions[t], data, t)
            found.append((env.observe(state), *ending))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

    batch = jax.tree.map(np.asarray, jax.jit(jax.vmap(play, (0, 1)))(data, actions))
    assert len(np.unique(batch[0][:, -1], axis=0)) == 3  # all 64 bits of a seed count
    with jax.disable_jit():
        alone = play(data[1], jnp.asarray(actions[:6, 1]))
    for together, one in zip(batch, alone, strict=True):
        np.testing.assert_array_equal(together[1, :6], one)
    for i, seed in enumerate(seeds):
        host = StructuredEnv(LISTED, 2)
        host.reset(seed)
        for t, found in enumerate([host.step(action) for action in actions[:, i]]):
            for together, one in zip(batch, found, strict=True):
                np.testing.assert_array_equal(together[i, t], np.asarray(one, together.dtype))
    assert batch[3].tolist() == [[False] * (STEPS - 1) + [True]] * 3
    assert not batch[2].any()  # a time limit is a truncation


def test_host_and_device_give_the_same_returns():
    """A policy that plays patterns, with a share of random sub-actions."""
    right, centre = jnp.asarray(right_actions(LISTED)), jnp.asarray(centres().astype(np.float32))

    def act(state, frozen, observation, key):
        best = right[(jnp.sign(observation) @ centre.T).argmax(-1), 0]
        return jnp.where(jax.random.bernoulli(key, state, best.shape), 0, best)

    found = []
    for kind in (Evaluator, OnDeviceEvaluator):
        with kind(
            act, (), identity_normaliser(10), LISTED, 2, run_seeds=[3], episodes=6, greedy=False, num_workers=0
        ) as evaluate:
            found.append(evaluate(1, jnp.float32(0.3))[0].returns)
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert len(np.unique(found[0])) > 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("structured_1x4_0.5_1.0", r"config.structured.slots must lie in \[2, 64\], got 1"),
        ("structured_65x4_0.5_1.0", r"config.structured.slots must lie in \[2, 64\], got 65"),
        ("structured_8x1_0.5_1.0", "config.structured.choices must name whole numbers from 2 to 128.*got '1'"),
        ("structured_8x4-129_0.5_1.0", "config.structured.choices must name whole numbers from 2 to 128"),
        ("structured_2x2-3-4_0.5_1.0", "names the choices of 3 slots, and there are 2: name fewer, or set"),
        ("structured_8x4_1.5_1.0", r"config.structured.dependence must lie in \[0, 1\], got 1.5"),
        ("structured_8x4_0.5_0.0", r"config.structured.coverage must lie in \(0, 1\], got 0.0"),
        ("structured_8x4_1_1.0", "config.task is 'structured_8x4_1_1.0'. Did you mean 'structured_8x4_1.0_1.0'?"),
        ("structured_8x4", "structured_SLOTSxCHOICES_DEPENDENCE_COVERAGE, such as structured_8x4_0.5_1.0"),
    ],
)
def test_a_bad_name_is_refused_in_one_line_and_is_in_no_table(name, message):
    with pytest.raises(ConfigError, match=message) as error:
        check_task(name)
    assert "\n" not in str(error.value)
    assert not is_structured(name)
    for table in (TASKS, ENVS, PURE_ENVS):
        assert name not in table
        assert table.get(name) is None
        with pytest.raises(KeyError):
            table[name]


def test_a_name_is_made_of_its_knobs_and_says_them():
    for knobs in (StructuredConfig(16, "2-7-100", 0.25, 0.5), StructuredConfig(2, "2", 1e-05, 1.0)):
        assert knobs_of(knobs.task) == knobs
        assert TASKS[knobs.task].slots == knobs.cardinalities


def test_a_picture_shows_the_height_the_patterns_and_the_choices():
    """Right choices of the played action are green, also in the pattern that they are of; others are grey."""
    env = StructuredEnv(LISTED, 2)
    at = heights(env.reset(0)[None])[0]
    right, wrong = right_actions(LISTED)[at], np.setdiff1d(range(4), right_actions(LISTED)[at][:, 3])[0]
    assert env.render().shape == (240, 320, 3)
    action = np.where(np.arange(8) == 3, wrong, right[1])
    now = heights(env.step(action)[0][None])[0]
    picture = env.render(240, 320)
    assert picture.dtype == np.uint8
    green, grey, blue = (45, 164, 78), (208, 215, 222), (9, 105, 218)

    def cell(row, slot):
        return tuple(picture[row * 60 + 40, int(50 + slot * 33.5 + 25)])

    assert [cell(0, i) for i in range(8)] == [grey] * 8
    for row in (1, 3):
        assert [cell(row, i) for i in range(8)] == [grey if i == 3 else green for i in range(8)]
    assert [tuple(picture[240 - i * 30 - 15, 20]) for i in range(HEIGHTS)] == [
        blue if i == now else grey for i in range(HEIGHTS)
    ]
