"""Turning advantages into a policy: weighted behaviour cloning (IQL, AWAC)."""

import chex
import jax
import jax.numpy as jnp


def exponential_weight(advantage: jax.Array, beta: float, clip: float) -> jax.Array:
    """min(exp(beta * A), clip), [B] (IQL eq. 7); no gradient flows through the weight."""
    chex.assert_rank(advantage, 1)
    # the exponent is clipped before exp, so that an enormous advantage cannot overflow to inf
    return jax.lax.stop_gradient(jnp.exp(jnp.minimum(beta * advantage, jnp.log(clip))))


def weighted_cloning(log_prob: jax.Array, weight: jax.Array) -> jax.Array:
    """The loss -mean(weight * log pi(a|s)) of log_prob [B] and weight [B]."""
    chex.assert_rank([log_prob, weight], 1)
    chex.assert_equal_shape([log_prob, weight])
    return -(weight * log_prob).mean()


def normalised(weight: jax.Array) -> jax.Array:
    """The weights [B] divided by their mean over the batch."""
    chex.assert_rank(weight, 1)
    return weight / (weight.mean() + 1e-8)
