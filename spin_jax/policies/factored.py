"""The factored policy F: an MLP of the state with one linear head for each slot.

Slots share the MLP's features, but given the state they are chosen independently.
"""

import dataclasses

import flax.linen as nn
import jax

from spin_jax.fields import DropoutRate, Section, Size
from spin_jax.models.asm import ASMConfig
from spin_jax.models.dense import Dense
from spin_jax.models.dropout import Dropout
from spin_jax.policies.base import Policy, factored_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class FactoredConfig(Section, where="config.factored."):
    """Width of both hidden layers, and the dropout after each. Raises ValueError if a value is out of range."""

    width: Size
    dropout: DropoutRate


class FactoredNetwork(nn.Module):
    """S -> width -> width (ReLU and dropout after each) -> a linear head for each slot; [B, S] -> logits [B, N, K]."""

    spec: ActionSpec
    config: FactoredConfig

    @nn.compact
    def __call__(self, observation: jax.Array, deterministic: bool) -> jax.Array:
        x = observation
        for _ in range(2):
            x = Dropout(self.config.dropout)(nn.relu(Dense(self.config.width)(x)), deterministic)
        n, k = self.spec.num_slots, self.spec.num_choices
        return Dense(n * k)(x).reshape(x.shape[0], n, k)  # all heads at once


def make_factored(spec: ActionSpec, asm_config: ASMConfig, config: FactoredConfig) -> Policy:
    """The factored policy; it reads neither the ASM nor the ASM's configuration."""
    network = FactoredNetwork(spec, config)

    def init(key, frozen, observation):
        return network.init(key, observation, deterministic=True)["params"]

    def logits(params, frozen, observation, key):
        rngs = {} if key is None else {"dropout": key}
        return network.apply({"params": params}, observation, deterministic=key is None, rngs=rngs)

    return factored_policy(spec, init, logits)
