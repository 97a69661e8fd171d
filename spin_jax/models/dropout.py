"""Dropout with cheap masks: one 32-bit draw decides two entries."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def keep_mask(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
    """Bool mask of `shape`, True with probability 1 - rate (to 2^-16); rows [0, B/2) and [B/2, B) share draws' halves.

    Splitting along the leading (batch) axis needs no interleaving, and the two halves of a draw are independent.
    """
    half = (shape[0] + 1) // 2
    bits = jax.random.bits(key, (half, *shape[1:]), jnp.uint32)
    threshold = jnp.uint32(round(rate * 65536))
    both = jnp.concatenate([(bits & 0xFFFF) >= threshold, (bits >> 16) >= threshold])
    return both[: shape[0]]


class Dropout(nn.Module):
    """Inverted dropout of x [B, …] with probability `rate`; the RNG stream is 'dropout'."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        if deterministic or self.rate == 0:
            return x
        keep = keep_mask(self.make_rng("dropout"), x.shape, self.rate)
        return jnp.where(keep, x / (1 - self.rate), 0)
