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
    """D, H, L and what goes with them; raises ValueError where D is not divisible by H."""

    width: int
    num_heads: int
    num_blocks: int
    ffn_mult: int
    dropout: float

    def __post_init__(self):
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be divisible by num_heads {self.num_heads}.")


def attend(query: jax.Array, groups, drop=lambda weights: weights) -> jax.Array:
    """softmax(q k / sqrt(W)) v over the keys of all groups together: [B, Q, H, W].

    query [B, Q, H, W]; groups: (key, value) pairs [B, K, H, W]. Any of them may lack B where it is the same in every
    row: its scores are then computed once. At least one has it.
    """
    batch = next(len(x) for x in (query, *(key for key, _ in groups)) if x.ndim == 4)

    def scores(key):
        found = jnp.einsum("...qhd,...khd->...hqk", query, key) if query.ndim == key.ndim else None
        if found is None:
            found = jnp.einsum("bqhd,khd->bhqk" if query.ndim == 4 else "qhd,bkhd->bhqk", query, key)
        return jnp.broadcast_to(found, (batch, *found.shape[-3:]))

    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    weights = drop(jax.nn.softmax(jnp.concatenate([scores(key) for key, _ in groups], axis=-1), axis=-1))
    mixed, start = 0.0, 0
    for key, value in groups:
        part = weights[..., start : start + key.shape[-3]]
        mixed += jnp.einsum("bhqk,bkhd->bqhd" if value.ndim == 4 else "bhqk,khd->bqhd", part, value)
        start += key.shape[-3]
    return mixed


def attend_from_shared(query: jax.Array, own: tuple, states: tuple) -> jax.Array:
    """`attend` of slots [N, H, W] that are the same in every row, to themselves (own) and to the row's states.

    To a slot, all slots together are one key: its score is the logsumexp of theirs, its value their mixture; neither
    depends on the row. Exact, and each row costs N M instead of N (M + N).
    """
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    among = jnp.einsum("qhd,khd->hqk", query, own[0])
    mixture = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(among, axis=-1), own[1])
    to_states = jnp.einsum("qhd,bkhd->bhqk", query, states[0])
    together = jnp.broadcast_to(jax.nn.logsumexp(among, axis=-1)[None, ..., None], (*to_states.shape[:-1], 1))
    weights = jax.nn.softmax(jnp.concatenate([to_states, together], axis=-1), axis=-1)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights[..., :-1], states[1])
    return mixed + weights[..., -1].swapaxes(1, 2)[..., None] * mixture[None]


class SelfAttention(nn.Module):
    """Multi-head self-attention among state tokens and slots, with dropout on the attention weights.

    state [B, M, D]; slots [B, N, D], or [N, D] where they are the same in every row. Returns [B, M + N, D], or the N
    slots' alone where `slots_only`.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool, slots_only: bool) -> jax.Array:
        heads = (self.config.num_heads, self.config.width // self.config.num_heads)
        query, key, value = (nn.DenseGeneral(heads, name=name) for name in ("query", "key", "value"))
        dropout = Dropout(self.config.dropout)

        def drop(weights):
            return dropout(weights, deterministic)

        if slots.ndim == 3:
            x = jnp.concatenate([state, slots], axis=1)
            mixed = attend(query(slots if slots_only else x), [(key(x), value(x))], drop)
        else:
            of_states, of_slots = (key(state), value(state)), (key(slots), value(slots))
            if deterministic or self.config.dropout == 0:
                mixed = attend_from_shared(query(slots), of_slots, of_states)
            else:
                mixed = attend(query(slots), [of_states, of_slots], drop)
            if not slots_only:
                mixed = jnp.concatenate([attend(query(state), [of_states, of_slots], drop), mixed], axis=1)
        return nn.DenseGeneral(self.config.width, axis=(-2, -1), name="out")(mixed)


class Block(nn.Module):
    """LN -> attention -> dropout -> residual; LN -> Dense(ffn_mult D) -> GELU -> Dense(D), dropout after both.

    Shapes as of SelfAttention.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool, slots_only: bool) -> jax.Array:
        config, norm = self.config, nn.LayerNorm(name="attention_norm")

        def drop(h):
            return Dropout(config.dropout)(h, deterministic)

        h = SelfAttention(config, name="attention")(norm(state), norm(slots), deterministic, slots_only)
        x = jnp.broadcast_to(slots, (len(state), *slots.shape[-2:]))
        x = x if slots_only else jnp.concatenate([state, x], axis=1)
        x = x + drop(h)
        h = nn.LayerNorm(name="ffn_norm")(x)
        h = drop(gelu(nn.Dense(config.ffn_mult * config.width, name="ffn_in")(h)))
        return x + drop(nn.Dense(config.width, name="ffn_out")(h))


class Body(nn.Module):
    """L blocks: state tokens [B, M, D] and slots [B, N, D] (or [N, D], the same in every row) -> slots [B, N, D].

    Equivariant to any permutation of the tokens. The last block computes the slots alone: nobody reads its states.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool) -> jax.Array:
        num_states, last = state.shape[1], self.config.num_blocks - 1
        for i in range(self.config.num_blocks):
            x = Block(self.config, name=f"block_{i}")(state, slots, deterministic, slots_only=i == last)
            state, slots = x[:, :num_states], x if i == last else x[:, num_states:]
        return slots
