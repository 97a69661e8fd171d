"""SAINT (arXiv 2505.12109): the Transformer policy of SPIN trained jointly from scratch; nothing is frozen.

It runs SPIN's own code with encoder and body among its parameters. So the two policies differ only in what is trained.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spin_jax.fields import DropoutRate, Section, Size
from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.policies.base import Policy
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class SAINTConfig(Section, where="config.saint."):
    """Width and dropout of the slot heads; the body's sizes and its dropout are the ASM's settings.

    Raises ValueError if a value is out of range.
    """

    head_width: Size
    dropout: DropoutRate


def make_saint(spec: ActionSpec, asm_config: ASMConfig, config: SAINTConfig) -> Policy:
    """The policy; params are {"asm": encoder and body, "queries" [N, D] ~ N(0, 1), "heads"}; `frozen` is not used.

    With a key, dropout is on in the body (asm_config.body.dropout) and in the heads (config.dropout).
    """
    asm_config = dataclasses.replace(asm_config, state_free=False)
    asm = ASM(spec, asm_config)
    published = SPINConfig(
        queries="normal",
        heads="fresh",
        head_width=config.head_width,
        dropout=config.dropout,
        frozen_dropout=True,  # dropout in the body, which SAINT does not freeze
    )
    spin = make_spin(spec, asm_config, published)

    def init(key, frozen, observation):
        asm_key, spin_key = jax.random.split(key)
        tokens = jnp.zeros((1, spec.num_slots, asm_config.body.width))
        params = asm.init(asm_key, observation, tokens, method=ASM.contextual)["params"]
        return {"asm": params, **spin.init(spin_key, (), observation)}

    def trained(method):
        def call(params, frozen, *args):
            return method(params, params["asm"], *args)

        return call

    methods = ("log_prob", "sample", "mode", "expected_utility", "best_in_support", "choose", "probabilities")
    return spin._replace(init=init, propose=None, **{name: trained(getattr(spin, name)) for name in methods})
