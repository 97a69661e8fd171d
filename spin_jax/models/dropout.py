"""Dropout with cheap masks: each entry's number is hashed, and the compiler fuses the hash with the use of the mask."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of uint32 in which every bit of x reaches every bit (xor-shift-multiply, as in MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def keep_mask(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
    """Bool mask of `shape`, True with probability 1 - rate (exact to 2^-32).

    Threefry draws two words from the key; entry i of the mask is a hash of both and i. The mask is not stored, and an
    entry costs a tenth of a Threefry draw. The hash is good enough for dropout, but not for sampling.
    """
    start, salt = jax.random.bits(key, (2,), jnp.uint32)
    number = jax.lax.iota(jnp.uint32, int(np.prod(shape))).reshape(shape)
    return _mix(_mix(number + start) ^ salt) >= jnp.uint32(round(rate * 2**32))


class Dropout(nn.Module):
    """Inverted dropout of x [B, …] with probability `rate`; the RNG stream is 'dropout'."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        if deterministic or self.rate == 0:
            return x
        keep = keep_mask(self.make_rng("dropout"), x.shape, self.rate)
        return jnp.where(keep, x / (1 - self.rate), 0)
