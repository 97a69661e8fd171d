"""The masked factored categorical: an independent distribution for each slot; slots are padded to K choices.

Padding gets log-probability -inf: its probability is 0, it is never sampled, and it passes no gradient.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.models.gumbel import gumbel


def log_softmax(logits: jax.Array, valid: np.ndarray) -> jax.Array:
    """Log-probabilities [B, N, K] of logits [B, N, K]; valid [N, K] is False on padding (-inf there)."""
    chex.assert_rank(logits, 3)
    masked = jnp.where(valid[None], logits, -jnp.inf)
    return jnp.where(valid[None], jax.nn.log_softmax(masked, axis=-1), -jnp.inf)


def take(values: jax.Array, actions: jax.Array) -> jax.Array:
    """The chosen entry of each slot: values [..., B, N, K], actions [B, N] -> [..., B, N]."""
    index = jnp.broadcast_to(actions[..., None], (*values.shape[:-1], 1))
    return jnp.take_along_axis(values, index, axis=-1)[..., 0]


def log_prob(logits: jax.Array, actions: jax.Array, valid: np.ndarray) -> jax.Array:
    """log p of joint actions [B, N] under independent slots: [B]."""
    chex.assert_shape(actions, logits.shape[:-1])
    return take(log_softmax(logits, valid), actions).sum(-1)


def sample(source: jax.Array, logits: jax.Array, valid: np.ndarray) -> jax.Array:
    """Joint actions [B, N] int32, every slot drawn independently; source: a key, or noise [B, N K] (models.gumbel)."""
    return (jnp.where(valid[None], logits, -jnp.inf) + gumbel(source, logits.shape)).argmax(-1).astype(jnp.int32)


def mode(logits: jax.Array, valid: np.ndarray) -> jax.Array:
    """The most probable joint action [B, N] int32."""
    return jnp.where(valid[None], logits, -jnp.inf).argmax(-1).astype(jnp.int32)


def support(logits: jax.Array, valid: np.ndarray, threshold: float) -> jax.Array:
    """[B, N, K] bool, True for choices at least `threshold` times as probable as their slot's best one (BCQ)."""
    masked = jnp.where(valid[None], logits, -jnp.inf)
    return (masked >= masked.max(-1, keepdims=True) + jnp.log(threshold)) & valid[None]


def kl_divergence(p_logits: jax.Array, q_logits: jax.Array, valid: np.ndarray) -> jax.Array:
    """KL(p || q) summed over slots, [B]; both [B, N, K]."""
    p, q = (jnp.where(valid[None], log_softmax(x, valid), 0) for x in (p_logits, q_logits))
    return jnp.where(valid[None], jnp.exp(p) * (p - q), 0).sum((-2, -1))
