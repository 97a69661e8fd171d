"""Losses of critics and values: IQL's expectile regression and temporal-difference errors."""

import chex
import jax
import jax.numpy as jnp

from spin_jax.models.categorical import take


def q_values(utilities: jax.Array, actions: jax.Array) -> jax.Array:
    """Q(s, a) [E, B]: the sum over slots of the chosen utilities [E, B, N, K] (SPIN; DecQN takes the mean)."""
    chex.assert_rank([utilities, actions], [4, 2])
    return take(utilities, actions).sum(-1)


def expectile_loss(difference: jax.Array, expectile: float) -> jax.Array:
    """mean |expectile - 1(u < 0)| u^2 of u = q - v, [B] (IQL, eq. 5); expectile 0.5 is half the squared error."""
    chex.assert_rank(difference, 1)
    weight = jnp.where(difference < 0, 1 - expectile, expectile)
    return (weight * difference**2).mean()


def td_target(reward: jax.Array, discount: jax.Array, gamma: float, v_t: jax.Array) -> jax.Array:
    """r + gamma * discount * V(s'), all [B]; no gradient flows into it."""
    chex.assert_rank([reward, discount, v_t], 1)
    chex.assert_equal_shape([reward, discount, v_t])
    return jax.lax.stop_gradient(reward + gamma * discount * v_t)


def td_loss(q: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error of each critic's q [E, B] against target [B]: [E]."""
    chex.assert_rank([q, target], [2, 1])
    chex.assert_shape(q, (None, len(target)))
    return ((q - target[None, :]) ** 2).mean(-1)
