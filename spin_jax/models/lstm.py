"""A layer of long short-term memory as pure functions of its parameters.

Gates in the order input, forget, candidate, output: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').
What a step adds from its input is computed for all steps at once (x @ kernel_in, outside of here), so that only the
recurrent product is left inside the scan.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

init_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # uniform in +-1 / sqrt(fan-in)


def init_lstm(key: jax.Array, num_inputs: int, width: int) -> dict:
    """Parameters of one layer; all biases are zero."""
    in_key, hidden_key = jax.random.split(key)
    return {
        "kernel_in": init_kernel(in_key, (num_inputs, 4 * width)),
        "kernel_hidden": init_kernel(hidden_key, (width, 4 * width)),
        "bias": jnp.zeros(4 * width),
    }


def blank_carry(params: dict, batch: int) -> tuple[jax.Array, jax.Array]:
    """(h, c) before the first step: zeros [B, width]."""
    return (jnp.zeros((batch, params["kernel_hidden"].shape[0])),) * 2


def lstm_step(params: dict, carry: tuple[jax.Array, jax.Array], projected: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next (h, c), each [B, width]; projected [B, 4 width] = x @ kernel_in."""
    h, c = carry
    gates = projected + h @ params["kernel_hidden"] + params["bias"][None]
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def lstm(params: dict, projected: jax.Array) -> jax.Array:
    """The outputs h [T, B, width] of T steps from the blank carry; projected [T, B, 4 width]."""

    def step(carry, projected):
        carry = lstm_step(params, carry, projected)
        return carry, carry[0]

    return jax.lax.scan(step, blank_carry(params, projected.shape[1]), projected)[1]
