"""The layer, and the gradient that is written by hand, against the plain recursion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models.lstm import blank_carry, init_lstm, lstm, lstm_step


@pytest.fixture
def layer():
    """Parameters with large biases, and projected inputs [7, 3, 20]."""
    params = init_lstm(jax.random.key(0), 4, 5)
    params["bias_in"], params["bias_hidden"] = jax.random.normal(jax.random.key(1), (2, 20))
    return params, jax.random.normal(jax.random.key(2), (7, 3, 20))


def plain(params, projected):
    carry, outputs = blank_carry(params, projected.shape[1]), []
    for x in projected:
        carry = lstm_step(params, carry, x)
        outputs.append(carry[0])
    return jnp.stack(outputs)


def test_outputs_and_gradients_are_those_of_the_plain_recursion(layer):
    weight = jax.random.normal(jax.random.key(3), (7, 3, 5))

    def value_and_grads(f):
        def loss(params, projected):
            h = f(params, projected)
            return (weight * h**2).sum() + h.sum(), h

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(*layer)

    (_, found), grads = value_and_grads(lstm)
    (_, expected), expected_grads = value_and_grads(plain)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for name in ("kernel_hidden", "bias_in", "bias_hidden"):
        assert float(jnp.abs(expected_grads[0][name]).max()) > 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, expected_grads)


def test_a_constant_input_is_the_same_input_in_every_step(layer):
    params, projected = layer
    constant = jax.random.normal(jax.random.key(5), projected.shape[1:])

    def loss(f):
        return jax.value_and_grad(lambda constant: (f(constant) ** 2).sum())(constant)

    (found, slope), (expected, expected_slope) = (
        loss(lambda constant: lstm(params, projected, constant)),
        loss(lambda constant: plain(params, projected + constant[None])),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-5)


def test_gradients_agree_with_finite_differences(layer):
    params, projected = layer

    def loss(kernel):
        return lstm(params | {"kernel_hidden": kernel}, projected).sum()

    kernel = params["kernel_hidden"]
    direction = jax.random.normal(jax.random.key(4), kernel.shape)
    slope = (jax.grad(loss)(kernel) * direction).sum()
    step = 1e-2
    measured = (loss(kernel + step * direction) - loss(kernel - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(measured), rel=1e-2)
