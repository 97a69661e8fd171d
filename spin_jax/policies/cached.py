"""spin_cached (ours): the queries stay at the ASM's own [MASK] embeddings, so z(s) of the log's states never changes.

Stage 2 computes z once for the whole data set (spin_jax/frozen/encodings.py) and trains heads and critics only: a
training step runs no Transformer. In SPIN the queries learn, so this is another method.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from spin_jax.fields import DropoutRate, Section, Size
from spin_jax.models.asm import ASM, ASMConfig, mask_embeddings
from spin_jax.models.unmasking import proposals
from spin_jax.policies.base import Policy, factored_policy
from spin_jax.policies.spin import check_sees_state, make_heads
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class CachedConfig(Section, where="config.spin_cached."):
    """heads: 'fresh', or 'asm' = start from the ASM's slot heads (the warm start); head_width; dropout in the heads.

    Raises ValueError on other values.
    """

    heads: Literal["fresh", "asm"]
    head_width: Size
    dropout: DropoutRate


def packed(z: jax.Array) -> jax.Array:
    """z rounded to bfloat16, with its bits as uint16: the form in which a log keeps it.

    Not as bfloat16, because XLA's CPU code would copy the whole log to float32 before it draws a batch from it.
    """
    return jax.lax.bitcast_convert_type(z.astype(jnp.bfloat16), jnp.uint16)


def unpacked(z: jax.Array) -> jax.Array:
    """z as float32; z may be packed or not."""
    if z.dtype == jnp.uint16:
        z = jax.lax.bitcast_convert_type(z, jnp.bfloat16)
    return z.astype(jnp.float32)


def make_cached(spec: ActionSpec, asm_config: ASMConfig, config: CachedConfig) -> Policy:
    """The policy; `frozen` is the ASM's parameter tree.

    Its input x is z(s): `encode` computes it from an observation, and a log holds it packed.
    """
    check_sees_state("spin_cached", asm_config)
    asm, (heads, init_heads) = ASM(spec, asm_config), make_heads(spec, asm_config, config)

    def init(key, frozen, observation):
        return init_heads(key, frozen)

    def logits(params, frozen, z, key):
        rngs = {} if key is None else {"dropout": key}
        return heads.apply({"params": params}, unpacked(z), deterministic=key is None, rngs=rngs)

    def encode(frozen, observation):
        return mask_embeddings(asm, frozen, observation)

    return factored_policy(spec, init, logits, encode=encode, propose=proposals(asm))
