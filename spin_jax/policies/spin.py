"""SPIN's policy (Algorithm 2): learnable queries go through the frozen ASM, and light heads choose.

(s, Q) -> frozen body -> z_i -> head i; pi(a|s) = prod_i pi(a_i | s, z_i). Only the queries Q and the heads are trained;
gradients flow through the frozen body into Q.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from spin_jax.fields import CountOrZero, DropoutRate, Positive, Section, Size
from spin_jax.models.asm import ASM, ASMConfig, SlotHeads
from spin_jax.models.initialisers import normal
from spin_jax.models.unmasking import proposals
from spin_jax.policies.base import Policy, factored_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class SPINConfig(Section, where="config.spin."):
    """The initial values of queries and heads, the dropout, and whether the ASM is fine-tuned.

    queries: 'normal' = N(0, 1) (published), or 'mask' = the ASM's [MASK] embeddings. heads: 'fresh' (published), or
    'asm' = the ASM's slot heads. ('mask' with 'asm' is the warm start, policy `spin_warm`.) dropout: in the heads.
    frozen_dropout: dropout stays on inside the frozen body in training (published).
    finetune: 'frozen' (published), or 'trained': encoder and body are copied into the policy and trained with
    asm_learning_rate after the policy's first finetune_after steps. Raises ValueError on other values.
    """

    queries: Literal["normal", "mask"]
    heads: Literal["fresh", "asm"]
    head_width: Size
    dropout: DropoutRate
    frozen_dropout: bool = dataclasses.field(kw_only=True, metadata={"from": "train.always_dropout"})
    finetune: Literal["frozen", "trained"] = "frozen"
    asm_learning_rate: Positive = 3e-5
    finetune_after: CountOrZero = 0


def make_heads(spec: ActionSpec, asm_config: ASMConfig, config: Any) -> tuple[SlotHeads, Callable]:
    """The policy's slot heads: (module, init(key, frozen) -> params); reads config.heads, .head_width, .dropout.

    heads='fresh' draws new ones, heads='asm' copies the ASM's. Raises ValueError if the ASM's have another width.
    """
    if config.heads == "asm" and config.head_width != asm_config.head_width:
        raise ValueError(
            f"heads='asm' takes over heads of width {asm_config.head_width}, but the policy's head_width is "
            f"{config.head_width}: make them equal."
        )
    heads = SlotHeads(spec, config.head_width, config.dropout, asm_config.body.dtype)

    def init(key, frozen):
        if config.heads == "asm":
            return jax.tree.map(jnp.copy, frozen["heads"])
        return heads.init(key, jnp.zeros((1, spec.num_slots, asm_config.body.width)), deterministic=True)["params"]

    return heads, init


def check_sees_state(section: str, asm_config: ASMConfig) -> None:
    """Raise ValueError if the ASM is state-free: a policy that sees the state only through the ASM needs it there."""
    if asm_config.state_free:
        raise ValueError(f"{section} sees the state only through the ASM: it needs asm.state_free=False.")


def make_spin(spec: ActionSpec, asm_config: ASMConfig, config: SPINConfig) -> Policy:
    """The policy; `frozen` is the ASM's parameter tree. On a state-free ASM it trains a state encoder of its own."""
    asm = ASM(spec, dataclasses.replace(asm_config, state_free=False))
    heads, init_heads = make_heads(spec, asm_config, config)
    width, trained = asm_config.body.width, config.finetune == "trained"

    def init(key, frozen, observation):
        query_key, head_key, encoder_key = jax.random.split(key, 3)
        queries = normal(query_key, (spec.num_slots, width))
        if config.queries == "mask":
            queries = jnp.copy(frozen["table"][:, spec.num_choices])
        params = {"queries": queries, "heads": init_heads(head_key, frozen)}
        if asm_config.state_free:
            fresh = asm.init(encoder_key, observation, queries, method=ASM.contextual)["params"]
            params["encoder"] = {name: fresh[name] for name in ("encoder_in", "encoder_out")}
        if trained:
            params["asm"] = {k: jax.tree.map(jnp.copy, v) for k, v in frozen.items() if k not in ("table", "heads")}
        return params

    def logits(params, frozen, observation, key):
        # without a key there is no dropout; with one, body and heads each get their own key
        body, head = ({}, {}) if key is None else ({"dropout": k} for k in jax.random.split(key))
        # z_i: the queries take the place of the slots' tokens; trained parts replace the frozen ones
        z = asm.apply(
            {"params": frozen | params.get("asm", {}) | params.get("encoder", {})},
            observation,
            params["queries"],
            deterministic=key is None or not config.frozen_dropout,
            method=ASM.contextual,
            rngs=body,
        )
        return heads.apply({"params": params["heads"]}, z, deterministic=key is None, rngs=head)

    def optimiser(learning_rate):
        """Adam; a fine-tuned ASM has its own rate, which is 0 for the first finetune_after steps."""
        if not trained:
            return optax.adam(learning_rate)
        slow = optax.adam(lambda step: jnp.where(step < config.finetune_after, 0.0, config.asm_learning_rate))
        rates = {"light": optax.adam(learning_rate), "asm": slow}
        return optax.multi_transform(rates, lambda params: {k: "asm" if k == "asm" else "light" for k in params})

    return factored_policy(spec, init, logits, optimiser=optimiser, propose=proposals(ASM(spec, asm_config)))
