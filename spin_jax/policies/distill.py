"""SPIN-Distill as we define it (the paper's text on it was not available): a student without a Transformer.

The student, an MLP S -> N D, learns to predict the frozen ASM's contextual embeddings when every slot is [MASK], on the
log's states. The loss is the mean squared error of the embeddings, plus KL(ASM || student) of the slot predictions that
the ASM's heads make from both. Stage 2 then trains student and heads with the RL objective.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.fields import Batch, Count, DropoutRate, Positive, Section, Size, Weight
from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.models.dense import Dense
from spin_jax.models.transformer import gelu
from spin_jax.models.unmasking import proposals
from spin_jax.policies.base import Policy, factored_policy
from spin_jax.policies.spin import check_sees_state, make_heads
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class DistillConfig(Section, where="config.spin_distill."):
    """Sizes of the student and its heads, and settings of the distillation.

    width: of the student's two hidden layers. heads ('fresh' or 'asm'), head_width, dropout: as in SPIN. steps,
    batch_size, learning_rate (Adam), kl_weight: of the distillation. Raises ValueError if a value is out of range.
    """

    width: Size
    heads: Literal["fresh", "asm"]
    head_width: Size
    dropout: DropoutRate
    steps: Count
    batch_size: Batch
    learning_rate: Positive
    kl_weight: Weight


class Student(nn.Module):
    """The student: observation [B, S] -> embeddings [B, N, D]; two hidden layers of `width` with GELU; D = outputs."""

    num_slots: int
    width: int
    outputs: int

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        h = gelu(Dense(self.width)(observation))
        h = gelu(Dense(self.width)(h))
        return Dense(self.num_slots * self.outputs)(h).reshape(observation.shape[0], self.num_slots, self.outputs)


def make_distill(spec: ActionSpec, asm_config: ASMConfig, config: DistillConfig) -> Policy:
    """The policy; `frozen` is {"asm": the ASM's parameter tree, "student": the distilled student's}."""
    check_sees_state("spin_distill", asm_config)
    student = Student(spec.num_slots, config.width, asm_config.body.width)
    heads, init_heads = make_heads(spec, asm_config, config)
    asm_proposals = proposals(ASM(spec, asm_config))

    def init(key, frozen, observation):
        return {"student": jax.tree.map(jnp.copy, frozen["student"]), "heads": init_heads(key, frozen["asm"])}

    def logits(params, frozen, observation, key):
        z = student.apply({"params": params["student"]}, observation)
        rngs = {} if key is None else {"dropout": key}
        return heads.apply({"params": params["heads"]}, z, deterministic=key is None, rngs=rngs)

    def propose(frozen, observation, key, count):
        return asm_proposals(frozen["asm"], observation, key, count)

    return factored_policy(spec, init, logits, propose=propose)
