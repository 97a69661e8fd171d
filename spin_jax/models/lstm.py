"""An LSTM layer (long short-term memory, Hochreiter and Schmidhuber 1997) as pure functions of its parameters.

Gates in the order input, forget, candidate, output: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').
The caller computes the inputs' part of the gates, x @ kernel_in, for all steps at once. So only the recurrent product
is left inside the scan.
"""

import jax
import jax.numpy as jnp

from spin_jax.models.initialisers import uniform


def init_lstm(key: jax.Array, num_inputs: int, width: int) -> dict:
    """Parameters of one layer, all uniform in +-1 / sqrt(width), as PyTorch's LSTM, which has two biases."""
    shapes = {
        "kernel_in": (num_inputs, 4 * width),
        "kernel_hidden": (width, 4 * width),
        "bias_in": (4 * width,),
        "bias_hidden": (4 * width,),
    }
    keys = jax.random.split(key, len(shapes))
    return {name: uniform(width)(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


def _bias(params: dict) -> jax.Array:
    return (params["bias_in"] + params["bias_hidden"])[None]


def blank_carry(params: dict, batch: int) -> tuple[jax.Array, jax.Array]:
    """(h, c) before the first step: zeros [B, width]."""
    return (jnp.zeros((batch, params["kernel_hidden"].shape[0])),) * 2


def _cell(gates: jax.Array, c: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """The next (h, c), and the activated gates [B, 4 width].

    One tanh computes all gates, as sigmoid(x) = (1 + tanh(x / 2)) / 2.
    """
    width = c.shape[-1]
    scale = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], gates.dtype), width)[None]
    shift = jnp.repeat(jnp.array([0.5, 0.5, 0.0, 0.5], gates.dtype), width)[None]
    activated = jnp.tanh(gates * scale) * scale + shift
    i, f, g, o = jnp.split(activated, 4, axis=-1)
    c = f * c + i * g
    return (o * jnp.tanh(c), c), activated


def lstm_step(params: dict, carry: tuple[jax.Array, jax.Array], projected: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next (h, c), each [B, width]; projected [B, 4 width] = x @ kernel_in."""
    h, c = carry
    return _cell(projected + h @ params["kernel_hidden"] + _bias(params), c)[0]


def over_steps(x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum over t and b of the outer products of x[t, b] and y[t, b]: x [T, B, I], y [T, B, O] -> [I, O].

    Both axes are summed over by one product and never merged: merging would move a batch that is split over devices.
    XLA copies the first operand, so the narrower one belongs there.
    """
    return jax.lax.dot_general(x, y, (((0, 1), (0, 1)), ((), ())))


@jax.custom_vjp
def project(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [T, B, I] @ kernel [I, O] -> [T, B, O]; the kernel's gradient is `over_steps`, not XLA's slower choice."""
    return x @ kernel


def _project_backward(kept, of_projected):
    x, kernel = kept
    return of_projected @ kernel.T, over_steps(x, of_projected)


project.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _project_backward)


@jax.custom_vjp
def _recur(kernel: jax.Array, constant: jax.Array, projected: jax.Array) -> jax.Array:
    """The outputs h [T, B, width] of a layer.

    Its gates at step t are projected[t] + constant + h[t - 1] @ kernel; projected [T, B, 4 width], constant
    [B, 4 width]. Kept from the forward pass for the gradient: h, c and the activated gates of every step.
    """
    return _recur_forward(kernel, constant, projected)[0]


def _recur_forward(kernel, constant, projected):
    def step(carry, projected):
        h, c = carry
        after, activated = _cell(projected + constant + h @ kernel, c)
        return after, (after, activated)

    carry = blank_carry({"kernel_hidden": kernel}, constant.shape[0])
    _, ((h, c), activated) = jax.lax.scan(step, carry, projected)
    return h, (kernel, h, c, activated)


def _recur_backward(kept, of_h):
    """Gradients of the loss with respect to kernel, constant and projected; of_x is the gradient with respect to x.

    A scan from the last step to the first one gives the gates' gradients. The kernel's gradient is then one product
    over all steps, not a sum of T products.
    """
    kernel, h, c, activated = kept
    h_before, c_before = (jnp.pad(x[:-1], ((1, 0), (0, 0), (0, 0))) for x in (h, c))

    def step(carry, at):
        of_h_next, of_c_next = carry
        of_h, activated, c, c_before = at
        i, f, g, o = jnp.split(activated, 4, axis=-1)
        of_h, tanh_c = of_h + of_h_next, jnp.tanh(c)
        of_c = of_c_next + of_h * o * (1 - tanh_c**2)  # h = o tanh(c)
        # c = f c_before + i g; through the activations: s = sigmoid has s' = s (1 - s), t = tanh has t' = 1 - t^2
        parts = (of_c * g * i * (1 - i), of_c * c_before * f * (1 - f), of_c * i * (1 - g**2))
        of_gates = jnp.concatenate([*parts, of_h * tanh_c * o * (1 - o)], axis=-1)
        return (of_gates @ kernel.T, of_c * f), of_gates

    blank = (jnp.zeros_like(h[0]), jnp.zeros_like(c[0]))
    _, of_gates = jax.lax.scan(step, blank, (of_h, activated, c, c_before), reverse=True)
    of_kernel = over_steps(h_before, of_gates)
    return of_kernel, of_gates.sum(0), of_gates


_recur.defvjp(_recur_forward, _recur_backward)


def lstm(params: dict, projected: jax.Array, constant: jax.Array | float = 0.0) -> jax.Array:
    """The outputs h [T, B, width] of T steps, starting from zeros.

    projected [T, B, 4 width] = x @ kernel_in; constant [B, 4 width]: the part of the gates that no step changes.
    """
    constant = jnp.broadcast_to(constant + _bias(params), projected.shape[1:])
    return _recur(params["kernel_hidden"], constant, projected)
