"""A layer of long short-term memory (Hochreiter and Schmidhuber 1997) as pure functions of its parameters.

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


@jax.custom_vjp
def _recur(kernel: jax.Array, projected: jax.Array) -> jax.Array:
    """h [T, B, width] of the layer whose gates are projected [T, B, 4 width] + h @ kernel."""
    return _recur_forward(kernel, projected)[0]


def _recur_forward(kernel, projected):
    params = {"kernel_hidden": kernel, "bias": jnp.zeros(len(kernel) * 4, kernel.dtype)}

    def step(carry, projected):
        after = lstm_step(params, carry, projected)
        return after, (*after, carry[0], carry[1])

    _, (h, c, h_before, c_before) = jax.lax.scan(step, blank_carry(params, projected.shape[1]), projected)
    return h, (kernel, projected, c, h_before, c_before)


def _recur_backward(kept, of_h):
    """Back through time for the gates; the kernel's gradient is one product over all steps, not a sum of T."""
    kernel, projected, c, h_before, c_before = kept
    gates = projected + h_before @ kernel  # again, all steps in one product
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)

    def step(carry, at):
        of_h_next, of_c_next = carry
        of_h, i, f, g, o, c, c_before = at
        of_h, tanh_c = of_h + of_h_next, jnp.tanh(c)
        of_c = of_c_next + of_h * o * (1 - tanh_c**2)
        parts = (of_c * g * i * (1 - i), of_c * c_before * f * (1 - f), of_c * i * (1 - g**2))
        of_gates = jnp.concatenate([*parts, of_h * tanh_c * o * (1 - o)], axis=-1)
        return (of_gates @ kernel.T, of_c * f), of_gates

    blank = (jnp.zeros_like(h_before[0]), jnp.zeros_like(c[0]))
    _, of_gates = jax.lax.scan(step, blank, (of_h, i, f, g, o, c, c_before), reverse=True)
    return jnp.einsum("tbh,tbg->hg", h_before, of_gates), of_gates


_recur.defvjp(_recur_forward, _recur_backward)


def lstm(params: dict, projected: jax.Array) -> jax.Array:
    """The outputs h [T, B, width] of T steps from the blank carry; projected [T, B, 4 width]."""
    return _recur(params["kernel_hidden"], projected + params["bias"][None, None])
