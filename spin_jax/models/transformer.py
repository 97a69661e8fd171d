"""The permutation-equivariant body: pre-LayerNorm self-attention blocks without positions or final LayerNorm."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.errors import ConfigError
from spin_jax.fields import DropoutRate, Section, Size
from spin_jax.models.attention import Projection, attend, attend_from_shared, project
from spin_jax.models.dense import Dense, cast
from spin_jax.models.dropout import Dropout

gelu = functools.partial(jax.nn.gelu, approximate=False)  # exact, as published
EPSILON = 1e-5  # added to the variance in every LayerNorm, as published


@dataclasses.dataclass(frozen=True)
class BodyConfig(Section, where="config.asm."):
    """Sizes of the body: width D, num_heads H, num_blocks L, ffn_mult (hidden width of the MLP = ffn_mult D), dropout.

    dtype: the type that products are computed in, such as 'bfloat16'; None: the type of the parameters. Parameters,
    softmax and the statistics of LayerNorm are always float32. Raises ValueError if D is not divisible by H.
    """

    width: Size
    num_heads: Size
    num_blocks: Size
    ffn_mult: Size
    dropout: DropoutRate
    dtype: str | None = None

    def agree(self) -> None:
        if self.width % self.num_heads:
            raise ConfigError(f"{self.where}width {self.width} must be divisible by num_heads {self.num_heads}.")


class Affine(nn.Module):
    """The scale and bias [D] of a LayerNorm, without its statistics."""

    @nn.compact
    def __call__(self, width: int) -> tuple[jax.Array, jax.Array]:
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        return self.param("scale", ones, (width,)), self.param("bias", zeros, (width,))


class SelfAttention(nn.Module):
    """Multi-head self-attention among state tokens and slots, with dropout on the attention weights.

    state [B, M, D]; slots [B, N, D], or [N, D] if they are the same in every row. Both are standardised, but not yet
    scaled: queries get the scale and bias `of_queries`, keys and values `of_keys`. Returns [B, M + N, D], or [B, N, D],
    the slots alone, if `slots_only`.
    """

    config: BodyConfig

    @nn.compact
    def __call__(
        self,
        state: jax.Array,
        slots: jax.Array,
        of_queries: tuple[jax.Array, jax.Array],
        of_keys: tuple[jax.Array, jax.Array],
        deterministic: bool,
        slots_only: bool,
    ) -> jax.Array:
        width, num_heads = self.config.width, self.config.num_heads
        heads = (num_heads, width // num_heads)
        query = Projection(heads, name="query")(*of_queries)
        key, value = (Projection(heads, name=name)(*of_keys) for name in ("key", "value"))
        dropout = Dropout(self.config.dropout)

        def drop(weights):
            return dropout(weights, deterministic)

        if slots.ndim == 3:  # every row has its own slots: states and slots are one sequence
            x = jnp.concatenate([state, slots], axis=1)
            if slots_only:
                (q,), (k, v) = project(slots, query), project(x, key, value)
            else:
                q, k, v = project(x, query, key, value)
            mixed = attend(q, [(k, v)], drop)
        else:
            # the same slots in every row: their projections are computed once, not for every row
            q, slot_key, slot_value = project(slots, query, key, value)
            *state_query, k, v = project(state, *(() if slots_only else (query,)), key, value)
            of_slots = slot_key, slot_value
            if deterministic or self.config.dropout == 0:
                mixed = attend_from_shared(q, of_slots, (k, v))
            else:  # dropout draws a weight for every row, so nothing can be shared between rows
                mixed = attend(q, [(k, v), of_slots], drop)
            if not slots_only:
                mixed = jnp.concatenate([attend(state_query[0], [(k, v), of_slots], drop), mixed], axis=2)
        return Dense(width, self.config.dtype, axes=2, name="out")(mixed.swapaxes(1, 2))


class Block(nn.Module):
    """LN -> attention -> dropout -> residual; LN -> Dense(ffn_mult D) -> GELU -> Dense(D), dropout after both.

    Attention has two LayerNorms in front of it, one for queries, one for keys and values (as published). Both have the
    same statistics, which are computed once. Shapes as in SelfAttention.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool, slots_only: bool) -> jax.Array:
        config = self.config
        standardise = nn.LayerNorm(EPSILON, dtype=config.dtype, use_scale=False, use_bias=False)
        norms = [Affine(name=name)(config.width) for name in ("attention_norm", "kv_norm")]

        def drop(h):
            return Dropout(config.dropout)(h, deterministic)

        attention = SelfAttention(config, name="attention")
        h = attention(standardise(state), standardise(slots), *norms, deterministic, slots_only)
        x = jnp.broadcast_to(slots, (state.shape[0], *slots.shape[-2:]))
        x = x if slots_only else jnp.concatenate([state, x], axis=1)
        x = x + drop(h)
        h = nn.LayerNorm(EPSILON, dtype=config.dtype, name="ffn_norm")(x)
        h = drop(gelu(Dense(config.ffn_mult * config.width, config.dtype, name="ffn_in")(h)))
        return x + drop(Dense(config.width, config.dtype, name="ffn_out")(h))


class Body(nn.Module):
    """L blocks: state tokens [B, M, D] and slots [B, N, D] (or [N, D], the same in every row) -> slots [B, N, D].

    Equivariant to any permutation of the tokens. The last block computes only the slots, as nothing uses its states.
    """

    config: BodyConfig

    @nn.compact
    def __call__(self, state: jax.Array, slots: jax.Array, deterministic: bool) -> jax.Array:
        num_states, last = state.shape[1], self.config.num_blocks - 1
        state, slots = (cast(x, self.config.dtype) for x in (state, slots))
        for i in range(self.config.num_blocks):
            x = Block(self.config, name=f"block_{i}")(state, slots, deterministic, slots_only=i == last)
            state, slots = x[:, :num_states], x if i == last else x[:, num_states:]
        return slots
