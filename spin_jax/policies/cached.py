"""spin_cached (ours): the queries stay at the ASM's own [MASK] embeddings, so z(s) is a constant of the log.

Stage 2 computes z once for the whole data set (spin_jax/frozen/encodings.py) and trains heads and critics only: no
Transformer in a training step. In SPIN the queries learn, so this is another method.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spin_jax.models.asm import ASM, ASMConfig, mask_embeddings
from spin_jax.models.unmasking import proposals
from spin_jax.policies.base import Policy, factored_policy
from spin_jax.policies.spin import make_heads
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class CachedConfig:
    """heads: 'fresh', or 'asm' = start from the ASM's slot heads (the warm start); head_width; dropout in the heads.

    Raises ValueError on other values.
    """

    heads: str
    head_width: int
    dropout: float

    def __post_init__(self):
        if self.heads not in ("fresh", "asm"):
            raise ValueError(f"spin_cached.heads must be 'fresh' or 'asm', got {self.heads!r}.")


def packed(z: jax.Array) -> jax.Array:
    """z rounded to bfloat16, its bits as uint16: what a log keeps.

    Of bfloat16 itself, XLA's CPU code makes a float32 copy of the whole log before it draws a batch from it.
    """
    return jax.lax.bitcast_convert_type(z.astype(jnp.bfloat16), jnp.uint16)


def unpacked(z: jax.Array) -> jax.Array:
    """z as float32, from whichever form it has."""
    if z.dtype == jnp.uint16:
        z = jax.lax.bitcast_convert_type(z, jnp.bfloat16)
    return z.astype(jnp.float32)


def make_cached(spec: ActionSpec, asm_config: ASMConfig, config: CachedConfig) -> Policy:
    """The policy; `frozen` is the ASM's parameter tree.

    x is z(s), which `encode` computes from an observation and a log holds packed.
    """
    asm, (heads, init_heads) = ASM(spec, asm_config), make_heads(spec, asm_config, config)

    def init(key, frozen, observation):
        return init_heads(key, frozen)

    def logits(params, frozen, z, key):
        rngs = {} if key is None else {"dropout": key}
        return heads.apply({"params": params}, unpacked(z), deterministic=key is None, rngs=rngs)

    def encode(frozen, observation):
        return mask_embeddings(asm, frozen, observation)

    return factored_policy(spec, init, logits, encode=encode, propose=proposals(asm))
