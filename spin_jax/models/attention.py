"""Attention of queries to groups of keys, where some are the same in every row, and the projections to heads."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.models.dense import product, widen


def attend(
    query: jax.Array,
    groups: Sequence[tuple[jax.Array, jax.Array]],
    drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """softmax(q k / sqrt(W)) v over the keys of all groups together: [B, H, Q, W].

    query [B, H, Q, W]; groups: (key, value) pairs [B, H, K, W]. An array that is the same in every row may lack the
    axis B: its scores are then computed once. At least one of them has it.
    """
    batch = next(len(x) for x in (query, *(key for key, _ in groups)) if x.ndim == 4)
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)

    def scores(key):
        found = jnp.einsum(f"{_rows(query)}hqw,{_rows(key)}hkw->{_rows(query) or _rows(key)}hqk", query, key)
        return jnp.broadcast_to(found, (batch, *found.shape[-3:]))

    weights = drop(_softmax(jnp.concatenate([scores(key) for key, _ in groups], axis=-1)))
    mixed: Any = 0
    start = 0
    for key, value in groups:
        part = weights[..., start : start + key.shape[-2]]
        mixed += jnp.einsum(f"bhqk,{_rows(value)}hkw->bhqw", part, value)
        start += key.shape[-2]
    return mixed


def _softmax(scores: jax.Array) -> jax.Array:
    """Over the last axis, computed in at least float32."""
    return jax.nn.softmax(widen(scores), axis=-1).astype(scores.dtype)


def _rows(x: jax.Array) -> str:
    """The letter of the batch axis in an einsum, where x has one."""
    return "b" if x.ndim == 4 else ""


def attend_from_shared(query: jax.Array, own: tuple, states: tuple) -> jax.Array:
    """`attend` of slots [H, N, W] that are the same in every row, to themselves (own) and to the row's states.

    To a slot, all slots together are one key: its score is the logsumexp of theirs, its value their mixture; neither
    depends on the row. Exact, and each row costs N M instead of N (M + N).
    """
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    among = jnp.einsum("hqw,hkw->hqk", query, own[0])
    mixture = _softmax(among) @ own[1]
    to_states = jnp.einsum("hqw,bhkw->bhqk", query, states[0])
    together = jax.nn.logsumexp(widen(among), axis=-1)[None, ..., None].astype(among.dtype)
    together = jnp.broadcast_to(together, (*to_states.shape[:-1], 1))
    weights = _softmax(jnp.concatenate([to_states, together], axis=-1))
    return weights[..., :-1] @ states[1] + weights[..., -1:] * mixture[None]


class Projection(nn.Module):
    """Kernel [D, H, W] and bias [H, W] of a projection to the heads, for `project`."""

    heads: tuple[int, int]

    @nn.compact
    def __call__(self, width: int) -> tuple[jax.Array, jax.Array]:
        init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
        return (
            self.param("kernel", init, (width, *self.heads)),
            self.param("bias", nn.initializers.zeros, self.heads),
        )


def project(x: jax.Array, *projections: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
    """Each projection of x [..., T, D], as [..., H, T, W]; all of them are one product."""
    kernels, biases = zip(*projections, strict=True)
    kernel, bias = jnp.concatenate([k.reshape(len(k), -1) for k in kernels], 1), jnp.stack(biases)
    found = product(x, kernel.astype(x.dtype)).reshape(*x.shape[:-1], *bias.shape)
    found += bias.astype(x.dtype).reshape(*[1] * (x.ndim - 1), *bias.shape)
    return list(jnp.moveaxis(found, (-3, -2), (0, -3)))
