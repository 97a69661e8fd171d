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


class SelfAttention(nn.Module):
    """Multi-head self-attention with dropout on the attention weights; x [B, T, D] -> [B, T, D]."""

    config: BodyConfig

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        heads = (self.config.num_heads, self.config.width // self.config.num_heads)
        query, key, value = (nn.DenseGeneral(heads, name=name)(x) for name in ("query", "key", "value"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(heads[1]).astype(x.dtype)
        weights = Dropout(self.config.dropout)(jax.nn.softmax(scores, axis=-1), deterministic)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return nn.DenseGeneral(self.config.width, axis=(-2, -1), name="out")(mixed)


class Block(nn.Module):
    """LN -> attention -> dropout -> residual; LN -> Dense(ffn_mult D) -> GELU -> Dense(D), dropout after both."""

    config: BodyConfig

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        config = self.config

        def drop(h):
            return Dropout(config.dropout)(h, deterministic)

        h = nn.LayerNorm(name="attention_norm")(x)
        x = x + drop(SelfAttention(config, name="attention")(h, deterministic))
        h = nn.LayerNorm(name="ffn_norm")(x)
        h = drop(gelu(nn.Dense(config.ffn_mult * config.width, name="ffn_in")(h)))
        return x + drop(nn.Dense(config.width, name="ffn_out")(h))


class Body(nn.Module):
    """L blocks; x [B, T, D] -> [B, T, D], equivariant to any permutation of the T tokens."""

    config: BodyConfig

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        for i in range(self.config.num_blocks):
            x = Block(self.config, name=f"block_{i}")(x, deterministic)
        return x
