"""Advantage weights and weighted cloning, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.objectives.policy_extraction import exponential_weight, weighted_cloning

B1, B = jnp.zeros((4, 1)), jnp.zeros(4)


def test_weight_is_the_clipped_exponential_of_the_scaled_advantage():
    advantage = np.array([-2.0, -0.1, 0.0, 0.5, 1.5, 1.6, 40.0])
    expected = np.minimum(np.exp(3 * advantage), 100)
    np.testing.assert_allclose(exponential_weight(jnp.array(advantage), 3.0, 100.0), expected, rtol=1e-5)


@pytest.mark.usefixtures("debug_nans")
def test_enormous_advantages_do_not_overflow():
    with jax.debug_infs(True):
        weight = exponential_weight(jnp.array([1e6, -1e6]), 3.0, 100.0)
    np.testing.assert_allclose(weight, [100.0, 0.0], rtol=1e-5)


@pytest.mark.usefixtures("debug_nans")
def test_no_gradient_flows_through_the_weight():
    gradient = jax.grad(lambda a: exponential_weight(a, 3.0, 100.0).sum())(jnp.array([-1.0, 0.3, 1e6]))
    assert (gradient == 0).all()


def test_cloning_is_minus_the_mean_of_weighted_log_prob():
    """Hand numbers: -(2 * -1 + 0.5 * -4 + 0 * -7) / 3."""
    log_prob, weight = jnp.array([-1.0, -4.0, -7.0]), jnp.array([2.0, 0.5, 0.0])
    assert float(weighted_cloning(log_prob, weight)) == pytest.approx(4 / 3, rel=1e-6)
    np.testing.assert_allclose(jax.grad(weighted_cloning)(log_prob, weight), -weight / 3, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: exponential_weight(B1, 3.0, 100.0),
        lambda: weighted_cloning(B1, B),
        lambda: weighted_cloning(B, B1),
        lambda: weighted_cloning(B1, B1),
        lambda: weighted_cloning(B, jnp.zeros(5)),
    ],
)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(AssertionError):
        call()
