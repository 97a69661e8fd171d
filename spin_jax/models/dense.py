"""Dense layers as products of two matrices, whatever the axes of their input."""

import math

import flax.linen as nn
import jax


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., I] @ kernel [I, O], as one product of two matrices.

    On CPU, XLA's gradient of a kernel behind three axes takes up to twice the time of that behind two.
    """
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


class Dense(nn.Module):
    """flax's DenseGeneral over the last `axes` axes: x [..., *inputs] -> [..., features], computed in `dtype`."""

    features: int
    dtype: str = "float32"
    axes: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-self.axes :]
        init = nn.initializers.lecun_normal(in_axis=tuple(range(self.axes)))
        kernel = self.param("kernel", init, (*inputs, self.features)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        x = x.astype(self.dtype).reshape(*x.shape[: -self.axes], math.prod(inputs))
        return product(x, kernel.reshape(-1, self.features)) + bias.reshape(*[1] * (x.ndim - 1), -1)
