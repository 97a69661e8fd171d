"""SPIN's policy (Algorithm 2): learnable queries read the frozen ASM, light heads choose.

(s, Q) -> frozen body -> z_i -> head i; pi(a|s) = prod_i pi(a_i | s, z_i). Only Q and the heads are trained; gradients
flow through the frozen body into Q.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spin_jax.models.asm import ASM, ASMConfig, SlotHeads
from spin_jax.policies.base import Policy, factored_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class SPINConfig:
    """Where queries and heads start, and where dropout is on.

    queries: 'normal' = N(0, 1) (published), 'mask' = the ASM's [MASK] embeddings. heads: 'fresh' (published), 'asm' =
    the ASM's slot heads. ('mask' with 'asm' is the warm start, policy `spin_warm`.) dropout: in the heads.
    frozen_dropout: keep the ASM's dropout on inside the frozen body while training, as the public code does.
    Raises ValueError on other values.
    """

    queries: str
    heads: str
    head_width: int
    dropout: float
    frozen_dropout: bool

    def __post_init__(self):
        if self.queries not in ("normal", "mask") or self.heads not in ("fresh", "asm"):
            raise ValueError(
                f"queries must be 'normal' or 'mask' and heads 'fresh' or 'asm', got {self.queries!r}, {self.heads!r}."
            )


def make_spin(spec: ActionSpec, num_features: int, asm_config: ASMConfig, config: SPINConfig) -> Policy:
    """The policy; `frozen` is the ASM's parameter tree. Raises ValueError where its heads cannot be taken over."""
    del num_features  # the frozen encoder knows
    if config.heads == "asm" and config.head_width != asm_config.head_width:
        raise ValueError(
            f"heads='asm' takes over heads of width {asm_config.head_width}, but the policy's head_width is "
            f"{config.head_width}: make them equal."
        )
    asm, heads = ASM(spec, asm_config), SlotHeads(spec, config.head_width, config.dropout)
    width = asm_config.body.width

    def init(key, frozen):
        query_key, head_key = jax.random.split(key)
        queries = jax.random.normal(query_key, (spec.num_slots, width))
        if config.queries == "mask":
            queries = jnp.copy(frozen["table"][:, spec.num_choices])
        fresh = heads.init(head_key, jnp.zeros((1, spec.num_slots, width)), deterministic=True)["params"]
        return {
            "queries": queries,
            "heads": jax.tree.map(jnp.copy, frozen["heads"]) if config.heads == "asm" else fresh,
        }

    def logits(params, frozen, observation, key):
        body, head = ({}, {}) if key is None else ({"dropout": k} for k in jax.random.split(key))
        tokens = jnp.broadcast_to(params["queries"][None], (len(observation), spec.num_slots, width))
        z = asm.apply(
            {"params": frozen},
            observation,
            tokens,
            deterministic=key is None or not config.frozen_dropout,
            method=ASM.contextual,
            rngs=body,
        )
        return heads.apply({"params": params["heads"]}, z, deterministic=key is None, rngs=head)

    return factored_policy(spec, init, logits)
