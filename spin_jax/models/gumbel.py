"""Where sampling takes its random numbers from: a key, or Gumbel numbers that the caller gives.

argmax(logits + g), with independent g ~ Gumbel(0, 1), is a draw from softmax(logits) (the Gumbel-max trick). With g as
an input, a sampled action is a function of arrays alone, which a program without JAX's generator computes as well.

A `source` is either a jax.random key, or noise [B, G] float32: G Gumbel numbers for each of B states. So with noise, a
state's action depends neither on the other states of the batch nor on its place among them.
"""

import jax
import jax.numpy as jnp
import numpy as np


def is_key(source: jax.Array) -> bool:
    """Whether the source is a key, not noise."""
    return jnp.issubdtype(source.dtype, jax.dtypes.prng_key)


def fixed_noise(count: int) -> np.ndarray:
    """[count] Gumbel numbers, float32, the same in every call."""
    uniform = np.random.default_rng(0).random(count)
    return -np.log(-np.log(uniform)).astype(np.float32)


def for_draws(source: jax.Array, count: int) -> jax.Array:
    """The source of B count draws, those of a state behind each other: noise [B, G] -> [B count, G / count]."""
    return source if is_key(source) else source.reshape(-1, source.shape[1] // count)


def split(source: jax.Array, num: int) -> jax.Array:
    """`num` sources along a new first axis: keys [num], or noise [num, B, G / num]."""
    if is_key(source):
        return jax.random.split(source, num)
    return jnp.moveaxis(source.reshape(-1, num, source.shape[1] // num), 1, 0)


def gumbel(source: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Gumbel numbers of `shape` [B, …]: drawn with a key, or the noise itself."""
    return jax.random.gumbel(source, shape) if is_key(source) else source.reshape(shape)
