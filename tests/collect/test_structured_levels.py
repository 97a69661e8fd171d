"""The behaviour of the structured problems: returns by dynamic programming against roll-outs, coverage, epsilon."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.collect.behaviours import BEHAVIOURS
from spin_jax.collect.simulated_log import BUILDERS
from spin_jax.collect.structured_levels import level_return, product_return
from spin_jax.envs.pure import advance, begin, seed_data
from spin_jax.envs.structured import centres, expected_return, heights, make_structured, patterns
from spin_jax.envs.structured_names import knobs_of
from spin_jax.envs.tasks import TASKS

EPISODES = 2_000


def returns_of(task, act):
    """[EPISODES]: returns of act(observation [B, S]) -> [B, N] in the environment itself."""
    env, data = make_structured(task), np.stack([seed_data(i) for i in range(EPISODES)])
    state = jax.jit(jax.vmap(lambda d: begin(env, d)))(data)
    step = jax.jit(jax.vmap(lambda s, a, d, t: advance(env, s, a, d, t), (0, 0, 0, None)))
    total = np.zeros(EPISODES)
    for t in range(TASKS[task].episode_steps):
        state, reward, *_ = step(state, jnp.asarray(act(np.asarray(state.observation)), jnp.int32), data, t)
        total += np.asarray(reward)
    return total


def behaviour(task, level, epsilon=0.0, seed=0):
    return BEHAVIOURS[task].make(task, 2, level, epsilon, np.random.default_rng(seed))


@pytest.mark.parametrize("task", ["structured_3x2-5_0.5_1.0", "structured_6x16_1.0_0.5"])
def test_a_level_returns_what_dynamic_programming_says(task):
    """2 000 episodes each with 5 % random sub-actions, 4 sigma; better levels return more."""
    found = []
    for level in TASKS[task].levels:
        returns = returns_of(task, behaviour(task, level, 0.05))
        assert abs(returns.mean() - level_return(task, level, 0.05)) < 4 * returns.std() / EPISODES**0.5
        found.append(returns.mean())
    assert found == sorted(found)
    assert level_return(task, "expert", 0.0) == pytest.approx(expected_return(1.0), rel=1e-12)


@pytest.mark.parametrize(("dependence", "lost"), [(0.0, 0.0), (0.5, 0.6), (1.0, 0.95)])
def test_a_product_of_the_expert_s_marginals_loses_what_dependence_says(dependence, lost):
    """Every slot draws its choice from a pattern of its own: 2 000 episodes against product_return, 4 sigma."""
    task = f"structured_3x8_{dependence}_1.0"
    knobs, rng = knobs_of(task), np.random.default_rng(0)
    right = patterns(knobs.cardinalities, knobs.num_patterns)

    def act(observation):
        drawn = rng.integers(knobs.num_patterns, size=(len(observation), knobs.slots))
        return right[heights(observation)[:, None], drawn, np.arange(knobs.slots)]

    returns, optimum = returns_of(task, act), expected_return(1.0)
    assert abs(returns.mean() - product_return(task)) <= 4 * returns.std() / EPISODES**0.5 + 1e-5
    assert product_return(task) <= (1 - lost) * optimum
    assert (dependence == 0) == (product_return(task) == optimum)


@pytest.mark.parametrize(("coverage", "count"), [(0.01, 1), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_coverage_limits_the_patterns_that_occur(coverage, count):
    """Of the 4 of each height, in 4 000 expert actions; the environment has them all, whatever coverage says."""
    task = f"structured_5x8_1.0_{coverage}"
    observation = np.tile(centres(), (500, 1)).astype(np.float32)
    action = behaviour(task, "expert")(observation)
    for height in range(8):
        assert len(np.unique(action[heights(observation) == height], axis=0)) == count
    right = patterns((8,) * 5, 4)
    assert {tuple(row) for row in action[::8]} <= {tuple(row) for row in right[0]}
    rarest = min(np.unique(action[::8], axis=0, return_counts=True)[1]) / 500
    assert abs(rarest - 1 / count) < 4 * (1 / count * (1 - 1 / count) / 500) ** 0.5 + 1e-9
    if coverage == 0.25:
        last = returns_of(task, lambda o: right[heights(o), -1])
        assert last.mean() == pytest.approx(np.mean(returns_of(task, behaviour(task, "expert"))), rel=1e-6)


@pytest.mark.parametrize("level", ["random", "medium", "expert"])
def test_epsilon_is_the_share_of_random_sub_actions(level):
    """The share of slots with the choice of a covered pattern, against its closed form, 4 sigma."""
    task, rows = "structured_4x8_0.5_0.25", 8_000
    observation = np.tile(centres()[:1], (rows, 1)).astype(np.float32)
    pattern = patterns((8,) * 4, 4)[0, 0]
    rates = {"random": (1.0, 1.0), "medium": (0.4, 0.7), "expert": (0.4, 0.4)}[level]  # 1 - (1 - own) (1 - epsilon)
    share = np.mean([1 - rate + rate / 8 for rate in rates])
    kept = (behaviour(task, level, 0.4)(observation) == pattern).mean(0)
    assert abs(kept - share).max() < 4 * (share * (1 - share) / rows) ** 0.5


def test_every_name_has_a_behaviour_a_builder_and_a_card():
    task = "structured_64x128_1.0_0.5"
    assert BUILDERS[task].name == "structured_problem"
    assert behaviour(task, "medium")(centres().astype(np.float32)).shape == (8, 64)
    card = BEHAVIOURS[task].card(task, 2, "expert")
    assert card["policy"] == "4 of the 8 right joint actions of each state"
