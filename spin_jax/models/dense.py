"""Dense layers that multiply two matrices, however many axes their input has."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.models.initialisers import uniform


def cast(x: jax.Array, dtype: str | None) -> jax.Array:
    """x in `dtype`, or unchanged if `dtype` is None."""
    return x if dtype is None else x.astype(dtype)


def widen(x: jax.Array) -> jax.Array:
    """x in float32, or in its own type if that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., I] @ kernel [I, O], computed as one product of two matrices.

    On CPU, XLA takes up to twice the time for the kernel's gradient if x has three axes instead of two.
    """
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


class Dense(nn.Module):
    """A dense layer over the last `axes` axes: x [..., *inputs] -> [..., features], in `dtype` if given.

    fan: the number that scales the initial values (models/initialisers.py); None: the number of inputs.
    """

    features: int
    dtype: str | None = None
    axes: int = 1
    fan: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-self.axes :]
        init = uniform(self.fan or math.prod(inputs))
        kernel = self.param("kernel", init, (*inputs, self.features))
        bias = self.param("bias", init, (self.features,))
        x, kernel, bias = (cast(a, self.dtype) for a in (x, kernel, bias))
        x = x.reshape(*x.shape[: -self.axes], math.prod(inputs))
        return product(x, kernel.reshape(-1, self.features)) + bias.reshape(*[1] * (x.ndim - 1), -1)
