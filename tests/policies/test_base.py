"""What makes policies out of logits or draws, against hand tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies.base import EXPECTATION_SAMPLES, SUPPORT_CANDIDATES, factored_policy, joint_q, sampled_policy
from spin_jax.types import ActionSpec


@pytest.fixture
def utilities():
    """[E, B, N, K] = [2, 1, 2, 3]; slot 0 has two choices, its padding must not count."""
    return jnp.array([[[[1.0, 2.0, jnp.inf], [0.0, 4.0, 8.0]]], [[[3.0, 0.0, jnp.inf], [6.0, 2.0, -8.0]]]])


def test_joint_q_adds_the_chosen_utilities(utilities):
    """Hand table: candidates (0, 0), (1, 1), (1, 2) under two critics."""
    found = joint_q(utilities, jnp.array([[[0, 0]], [[1, 1]], [[1, 2]]]))
    np.testing.assert_array_equal(found, [[[1.0], [9.0]], [[6.0], [2.0]], [[10.0], [-8.0]]])


def test_joint_q_keeps_states_and_candidates_apart():
    utilities = jax.random.normal(jax.random.key(0), (2, 4, 3, 5))
    candidates = jax.random.randint(jax.random.key(1), (6, 4, 3), 0, 5)
    expected = [
        [[sum(utilities[e, b, n, candidates[c, b, n]] for n in range(3)) for b in range(4)] for e in range(2)]
        for c in range(6)
    ]
    np.testing.assert_allclose(joint_q(utilities, candidates), np.array(expected), rtol=1e-5, atol=1e-6)


def test_product_expectation_and_support_of_a_hand_table(utilities):
    """p = (1/2, 1/2) and (0.1, 0.3, 0.6): at 0.4 of the best, slot 1's choice 0 is out."""
    logits = jnp.log(jnp.array([[[0.5, 0.5, 0.9], [0.1, 0.3, 0.6]]]))
    policy = factored_policy(ActionSpec((2, 3)), lambda key, frozen: (), lambda *args: logits)
    found = policy.expected_utility((), (), None, utilities, None)
    np.testing.assert_allclose(found, [min(1.5 + 0.3 * 4 + 0.6 * 8, 1.5 + 0.6 + 0.6 - 4.8)], rtol=1e-5)
    actions, value = policy.best_in_support((), (), None, utilities, 0.4, None)
    np.testing.assert_array_equal(actions, [[0, 1]])  # smaller utilities (1, 0) and (-, 2, -8)
    np.testing.assert_allclose(value, [min(2 + 8, 3 + 2)])
    actions, value = policy.best_in_support((), (), None, utilities, 0.0, None)
    np.testing.assert_allclose(value, [min(2 + 8, 3 + 6)])


def test_a_products_dropout_is_on_where_it_is_asked_for(utilities):
    """The logits get the key if `dropout` is set, and none otherwise."""
    asked = []

    def logits(params, frozen, x, key):
        asked.append(key)
        return jnp.zeros((1, 2, 3))

    policy, key = factored_policy(ActionSpec((2, 3)), None, logits), jax.random.key(0)
    for dropout in (False, True):
        policy.expected_utility((), (), None, utilities, key, dropout)
        policy.best_in_support((), (), None, utilities, 0.3, key, dropout)
    policy.expected_utility((), (), None, utilities, key)
    policy.best_in_support((), (), None, utilities, 0.3, key)
    assert asked == [None, None, key, key, None, None]


def test_drawn_support_is_the_best_of_its_candidates(utilities):
    """Hand table: among (0, 0), (1, 1) and (1, 2) the smaller critic has 1, 2 and -8."""
    asked = []

    def draw(params, frozen, x, key, count):
        asked.append(count)
        return jnp.array([[[0, 0]], [[1, 1]], [[1, 2]]])

    policy = sampled_policy(None, None, draw, None, noise_per_draw=6)
    actions, value = policy.best_in_support((), (), jnp.zeros((1, 5)), utilities, 0.3, None)
    np.testing.assert_array_equal(actions, [[1, 1]])
    np.testing.assert_array_equal(value, [2.0])
    np.testing.assert_allclose(policy.expected_utility((), (), None, utilities, None), [(1 + 2 - 8) / 3], rtol=1e-6)
    assert asked == [SUPPORT_CANDIDATES, EXPECTATION_SAMPLES]
