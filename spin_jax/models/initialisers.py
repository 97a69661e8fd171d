"""How every parameter starts: PyTorch's default, which the published code relies on.

Kernels and biases alike are uniform in +-1 / sqrt(fan-in), so their standard deviation is 1 / sqrt(3 fan-in).
Embedding tables and queries are N(0, 1), as in the published code.
"""

import math

import jax
import jax.numpy as jnp
from flax.typing import Initializer

normal = jax.nn.initializers.normal(1.0)


def uniform(fan: int) -> Initializer:
    """An initialiser init(key, shape, dtype): uniform in +-1 / sqrt(fan)."""

    def init(key, shape, dtype=jnp.float32, *unused):
        return jax.random.uniform(key, shape, dtype, -1 / math.sqrt(fan), 1 / math.sqrt(fan))

    return init
