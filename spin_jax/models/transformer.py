"""The permutation-equivariant body: pre-LayerNorm self-attention blocks without positions or final LayerNorm."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.models.dropout import Dropout

gelu = functools.partial(jax.nn.gelu, approximate=False)  # exact, as published


@dataclasses.dataclass(frozen=True)
class BodyConfig:
    """D, H, L and what goes with them; raises ValueError where D is not divisible by H.

    dtype: what products are computed in, 'float32' or 'bfloat16'; parameters, softmax and LayerNorm stay float32.
    """

    width: int
    num_heads: int
    num_blocks: int
    ffn_mult: int
    dropout: float
    dtype: str = "float32"

    def __post_init__(self):
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be divisible by num_heads {self.num_heads}.")


def attend(query: jax.Array, groups, drop=lambda weights: weights) -> jax.Array:
    """softmax(q k / sqrt(W)) v over the keys of all groups together: [B, H, Q, W].

    query [B, H, Q, W]; groups: (key, value) pairs [B, H, K, W]. Any of them may lack B where it is the same in every
    row: its scores are then computed once. At least one has it.
    """
    batch = next(len(x) for x in (query, *(key for key, _ in groups)) if x.ndim == 4)
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)

    def scores(key):
        found = jnp.einsum(f"{_rows(query)}hqw,{_rows(key)}hkw->{_rows(query) or _rows(key)}hqk", query, key)
        return jnp.broadcast_to(found, (batch, *found.shape[-3:]))

    weights = drop(_softmax(jnp.concatenate([scores(key) for key, _ in groups], axis=-1)))
    mixed, start = 0, 0
    for key, value in groups:
        part = weights[..., start : start + key.shape[-2]]
        mixed += jnp.einsum(f"bhqk,{_rows(value)}hkw->bhqw", part, value)
        start += key.shape[-2]
    return mixed


def _softmax(scores: jax.Array) -> jax.Array:
    """Over the last axis, computed in float32."""
    return jax.nn.softmax(scores.astype(jnp.float32), axis=-1).astype(scores.dtype)


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
    together = jax.nn.logsumexp(among.astype(jnp.float32), axis=-1)[None, ..., None].astype(among.dtype)
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
    flat = x.reshape(-1, x.shape[-1]) @ kernel.astype(x.dtype) + bias.reshape(1, -1).astype(x.dtype)
    return list(jnp.moveaxis(flat.reshape(*x.shape[:-1], *bias.shape), (-3, -2), (0, -3)))


class SelfAttention(nn.Module):
    """Multi-head self-attention among state tokens and slots, with dropout on the attention weights.

    state [B, M, D]; slots [B, N, D], or [N, D] where they are the same in every row. Returns [B, M + N, D], or the N
    slots' alone where `slots_only`.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool, slots_only: bool) -> jax.Array:
        width, num_heads = self.config.width, self.config.num_heads
        heads = (num_heads, width // num_heads)
        query, key, value = (Projection(heads, name=name)(width) for name in ("query", "key", "value"))
        dropout = Dropout(self.config.dropout)

        def drop(weights):
            return dropout(weights, deterministic)

        if slots.ndim == 3:
            x = jnp.concatenate([state, slots], axis=1)
            if slots_only:
                (q,), (k, v) = project(slots, query), project(x, key, value)
            else:
                q, k, v = project(x, query, key, value)
            mixed = attend(q, [(k, v)], drop)
        else:
            q, *of_slots = project(slots, query, key, value)
            *state_query, k, v = project(state, *(() if slots_only else (query,)), key, value)
            if deterministic or self.config.dropout == 0:
                mixed = attend_from_shared(q, of_slots, (k, v))
            else:
                mixed = attend(q, [(k, v), of_slots], drop)
            if not slots_only:
                mixed = jnp.concatenate([attend(*state_query, [(k, v), of_slots], drop), mixed], axis=2)
        return nn.DenseGeneral(width, axis=(-2, -1), dtype=self.config.dtype, name="out")(mixed.swapaxes(1, 2))


class Block(nn.Module):
    """LN -> attention -> dropout -> residual; LN -> Dense(ffn_mult D) -> GELU -> Dense(D), dropout after both.

    Shapes as of SelfAttention.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool, slots_only: bool) -> jax.Array:
        config, norm = self.config, nn.LayerNorm(dtype=self.config.dtype, name="attention_norm")

        def drop(h):
            return Dropout(config.dropout)(h, deterministic)

        h = SelfAttention(config, name="attention")(norm(state), norm(slots), deterministic, slots_only)
        x = jnp.broadcast_to(slots, (len(state), *slots.shape[-2:]))
        x = x if slots_only else jnp.concatenate([state, x], axis=1)
        x = x + drop(h)
        h = nn.LayerNorm(dtype=config.dtype, name="ffn_norm")(x)
        h = drop(gelu(nn.Dense(config.ffn_mult * config.width, dtype=config.dtype, name="ffn_in")(h)))
        return x + drop(nn.Dense(config.width, dtype=config.dtype, name="ffn_out")(h))


class Body(nn.Module):
    """L blocks: state tokens [B, M, D] and slots [B, N, D] (or [N, D], the same in every row) -> slots [B, N, D].

    Equivariant to any permutation of the tokens. The last block computes the slots alone: nobody reads its states.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool) -> jax.Array:
        num_states, last = state.shape[1], self.config.num_blocks - 1
        state, slots = state.astype(self.config.dtype), slots.astype(self.config.dtype)
        for i in range(self.config.num_blocks):
            x = Block(self.config, name=f"block_{i}")(state, slots, deterministic, slots_only=i == last)
            state, slots = x[:, :num_states], x if i == last else x[:, num_states:]
        return slots
