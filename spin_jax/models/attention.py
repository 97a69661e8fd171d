"""Attention of queries to groups of keys, some of which are the same in every row, and the projections to heads."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.models.dense import product, widen
from spin_jax.models.initialisers import uniform


@jax.custom_vjp
def times(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b for many small matrices, [..., Q, K] and [..., K, W] -> [..., Q, W], with a gradient that is fast on CPUs.

    XLA for CPUs multiplies by a^T up to eight times slower than by a matrix that lies in memory as it is used.
    """
    return a @ b


@jax.custom_vjp
def times_transposed(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b^T, [..., Q, W] and [..., K, W] -> [..., Q, K], as `times`."""
    return a @ b.swapaxes(-1, -2)


def _transposed(x: jax.Array) -> jax.Array:
    """x^T; on CPUs it is written to memory before a product reads it, which the barrier asks for."""
    return jax.lax.platform_dependent(x.swapaxes(-1, -2), cpu=jax.lax.optimization_barrier, default=lambda x: x)


# forward: the result, and what the gradient reads; backward: the gradients of a and b, given that of the result, c.
# `times_transposed` is no call of `times`: XLA would move the transpose of its gradient back into the product.
times.defvjp(lambda a, b: (times(a, b), (a, b)), lambda ab, c: (c @ ab[1].swapaxes(-1, -2), _transposed(ab[0]) @ c))
times_transposed.defvjp(
    lambda a, b: (times_transposed(a, b), (a, b)), lambda ab, c: (c @ ab[1], _transposed(c) @ ab[0])
)


def attend(
    query: jax.Array,
    groups: Sequence[tuple[jax.Array, jax.Array]],
    drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """softmax(q k / sqrt(W)) v over the keys of all groups together: [B, H, Q, W].

    query [B, H, Q, W] (Q queries of width W); groups: (key, value) pairs [B, H, K, W] (K is the number of keys here).
    An array that is the same in every row may lack the axis B. If query and key both lack it, their scores are computed
    once. The query or one of the keys must have it. drop: dropout of the attention weights [B, H, Q, keys].
    """
    batch = next(x.shape[0] for x in (query, *(key for key, _ in groups)) if x.ndim == 4)
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)

    def scores(key):
        # q · k for every head, query and key; the letter b stands only for arrays that have a batch axis
        if query.ndim == key.ndim:
            found = times_transposed(query, key)
        else:
            found = jnp.einsum(f"{_rows(query)}hqw,{_rows(key)}hkw->bhqk", query, key)
        return jnp.broadcast_to(found, (batch, *found.shape[-3:]))

    weights = drop(_softmax(jnp.concatenate([scores(key) for key, _ in groups], axis=-1)))
    mixed: Any = 0
    start = 0
    # the weights' last axis holds the groups' keys one after another: each group's weighted values are added up
    for key, value in groups:
        part = weights[..., start : start + key.shape[-2]]
        mixed += times(part, value) if value.ndim == 4 else jnp.einsum("bhqk,hkw->bhqw", part, value)
        start += key.shape[-2]
    return mixed


def _softmax(scores: jax.Array) -> jax.Array:
    """Softmax over the last axis, computed in at least float32."""
    return jax.nn.softmax(widen(scores), axis=-1).astype(scores.dtype)


def _rows(x: jax.Array) -> str:
    """The letter of the batch axis of x in an einsum: "b", or "" if x has no batch axis."""
    return "b" if x.ndim == 4 else ""


def attend_from_shared(query: jax.Array, own: tuple, states: tuple) -> jax.Array:
    """`attend` for slots [H, N, W] that are the same in every row, to themselves and to the state tokens of each row.

    own: (key, value) [H, N, W] of the slots; states: (key, value) [B, H, M, W]; result [B, H, N, W]. For each query,
    all slots together act as one key: its score is the logsumexp of the slots' scores, and its value is the mixture of
    the slots' values under their own softmax. Neither depends on the row. The result is exact, and a row costs N M
    scores instead of N (M + N).
    """
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    among = jnp.einsum("hqw,hkw->hqk", query, own[0])
    mixture = _softmax(among) @ own[1]
    to_states = jnp.einsum("hqw,bhkw->bhqk", query, states[0])
    together = jax.nn.logsumexp(widen(among), axis=-1)[None, ..., None].astype(among.dtype)
    together = jnp.broadcast_to(together, (*to_states.shape[:-1], 1))
    weights = _softmax(jnp.concatenate([to_states, together], axis=-1))
    return times(weights[..., :-1], states[1]) + weights[..., -1:] * mixture[None]


class Projection(nn.Module):
    """Parameters of a projection to the heads, for `project`: kernel [D, H, W] and bias [H, W].

    scale, shift [D] of a LayerNorm in front of it are multiplied in: (x scale + shift) kernel + bias is computed as
    x (scale kernel) + (shift kernel + bias). So projections behind different LayerNorms of the same x share x.
    """

    heads: tuple[int, int]

    @nn.compact
    def __call__(self, scale: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
        init = uniform(len(scale))
        kernel = self.param("kernel", init, (len(scale), *self.heads))
        bias = self.param("bias", init, self.heads)
        return kernel * scale[:, None, None], bias + (kernel * shift[:, None, None]).sum(0)


def project(x: jax.Array, *projections: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
    """The projections of x [..., T, D], each [..., H, T, W]; one matrix product computes them all."""
    kernels, biases = zip(*projections, strict=True)
    kernel, bias = jnp.concatenate([k.reshape(len(k), -1) for k in kernels], 1), jnp.stack(biases)
    found = product(x, kernel.astype(x.dtype)).reshape(*x.shape[:-1], *bias.shape)
    found += bias.astype(x.dtype).reshape(*[1] * (x.ndim - 1), *bias.shape)
    # found is [..., T, projection, H, W]: the projections come first, and the heads before the tokens
    return list(jnp.moveaxis(found, (-3, -2), (0, -3)))
