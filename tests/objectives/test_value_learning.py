"""Losses of values and critics, against closed forms and hand tables."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.objectives.value_learning import expectile_loss, q_values, td_loss, td_target

B1, B = jnp.zeros((4, 1)), jnp.zeros(4)


def test_expectile_of_one_half_is_half_the_squared_error():
    u = jax.random.normal(jax.random.key(0), (64,))
    assert float(expectile_loss(u, 0.5)) == pytest.approx(float((u**2).mean()) / 2, rel=1e-6)


@pytest.mark.parametrize(("u", "loss"), [(2.0, 3.2), (-2.0, 0.8), (0.5, 0.2), (-0.5, 0.05), (0.0, 0.0), (-10.0, 20.0)])
def test_expectile_hand_table(u, loss):
    """expectile 0.8: 0.8 u^2 above, 0.2 u^2 below."""
    assert float(expectile_loss(jnp.array([u]), 0.8)) == pytest.approx(loss, rel=1e-6)


def test_minimiser_of_the_expectile_loss_is_the_expectile():
    """Closed form: of {0, 1}, the 0.8-expectile v solves 0.8 (1 - v) = 0.2 v, so v = 0.8."""
    slope = jax.grad(lambda v: expectile_loss(jnp.array([0.0, 1.0]) - v, 0.8))
    assert float(slope(0.8)) == pytest.approx(0, abs=1e-6)
    assert float(slope(0.79)) < 0 < float(slope(0.81))


def test_q_is_the_sum_of_the_chosen_utilities():
    utilities = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)  # [E, B, N, K]
    # critic 0: row 0 takes 0, 3, 4, row 1 takes 7, 9, 10; critic 1 is 12 higher in each of three slots
    np.testing.assert_array_equal(q_values(utilities, jnp.array([[0, 1, 0], [1, 1, 0]])), [[7, 26], [43, 62]])


def test_td_target_is_reward_where_the_episode_terminated():
    reward, v_t = jnp.array([1.0, 2.0, -3.0]), jnp.array([10.0, 10.0, 20.0])
    np.testing.assert_allclose(td_target(reward, jnp.array([1.0, 0.0, 1.0]), 0.9, v_t), [10.0, 2.0, 15.0], rtol=1e-6)


def test_no_gradient_flows_into_the_target():
    def total(reward, discount, v_t):
        return td_target(reward, discount, 0.9, v_t).sum()

    gradients = jax.grad(total, argnums=(0, 1, 2))(jnp.ones(4), jnp.ones(4), jnp.ones(4))
    assert all((g == 0).all() for g in gradients)


def test_td_loss_is_each_critics_mean_over_the_batch():
    q, target = jnp.array([[1.0, 2.0], [3.0, 5.0]]), jnp.array([2.0, 2.0])
    np.testing.assert_allclose(td_loss(q, target), [(1 + 0) / 2, (1 + 9) / 2], rtol=1e-6)


@pytest.mark.parametrize("shapes", [s for s in itertools.product((B, B1), repeat=3) if any(x is B1 for x in s)])
def test_td_target_refuses_a_column_against_a_row(shapes):
    reward, discount, v_t = shapes
    with pytest.raises(AssertionError):
        td_target(reward, discount, 0.99, v_t)


@pytest.mark.parametrize(
    "call",
    [
        lambda: expectile_loss(B1, 0.8),
        lambda: td_target(B, B, 0.99, jnp.zeros(5)),
        lambda: td_target(B, jnp.ones(()), 0.99, B),
        lambda: td_loss(B, B),  # a single critic without its axis
        lambda: td_loss(jnp.zeros((2, 4)), B1),
        lambda: td_loss(jnp.zeros((2, 4, 1)), B),
        lambda: td_loss(jnp.zeros((4, 1)), B),
        lambda: td_loss(jnp.zeros((4, 4)), jnp.zeros((1,))),
        lambda: q_values(jnp.zeros((4, 3, 2)), jnp.zeros((4, 3), int)),
        lambda: q_values(jnp.zeros((2, 4, 3, 2)), jnp.zeros(4, int)),
    ],
)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(AssertionError):
        call()
