"""SPIN-Distill's training of the student, between the two stages: it regresses onto the frozen ASM's embeddings."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.learners.base import Learner
from spin_jax.learners.steps import gradient_step
from spin_jax.models import categorical
from spin_jax.models.asm import ASM, ASMConfig, SlotHeads, mask_embeddings
from spin_jax.policies.distill import DistillConfig, Student
from spin_jax.types import ActionSpec, Transition


class DistillState(NamedTuple):
    params: dict  # the student's
    opt_state: optax.OptState
    step: jax.Array


def make_distiller(spec: ActionSpec, asm_config: ASMConfig, config: DistillConfig) -> Learner:
    """The learner of the student (policies/distill.py); `frozen` is the parameter tree of the ASM."""
    asm, heads = ASM(spec, asm_config), SlotHeads(spec, asm_config.head_width, 0.0)
    student = Student(spec.num_slots, config.width, asm_config.body.width)
    optimiser = optax.adam(config.learning_rate)

    def init(key, frozen, observation) -> DistillState:
        params = student.init(key, observation)["params"]
        return DistillState(params, optimiser.init(params), jnp.zeros((), jnp.int32))

    def slot_logits(frozen, z):
        return heads.apply({"params": frozen["heads"]}, z, deterministic=True)

    def update(state: DistillState, frozen, batch: Transition, key):
        """One Adam step on MSE(z_student, z_ASM) + kl_weight KL(ASM || student), the KL summed over slots."""
        z = mask_embeddings(asm, frozen, batch.observation)
        teacher = slot_logits(frozen, z)

        def loss_fn(params):
            found = student.apply({"params": params}, batch.observation)
            mse = ((found - z) ** 2).mean()
            kl = categorical.kl_divergence(teacher, slot_logits(frozen, found), spec.valid).mean()
            return mse + config.kl_weight * kl, {"distill_mse": mse, "distill_kl": kl}

        params, opt_state, _, metrics = gradient_step(optimiser, loss_fn, state.params, state.opt_state)
        return DistillState(params, opt_state, state.step + 1), metrics

    def act(state: DistillState, frozen, observation, key):
        """Behaviour cloning: the ASM's heads on the student's embeddings."""
        logits = slot_logits(frozen, student.apply({"params": state.params}, observation))
        return categorical.mode(logits, spec.valid) if key is None else categorical.sample(key, logits, spec.valid)

    return Learner(init, update, act)
