"""Stage 1 as a learner (Algorithm 1): masked modelling of the joint actions in a log."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.fields import Positive, Section
from spin_jax.learners.base import Learner
from spin_jax.models import categorical
from spin_jax.models.asm import ASM, ASMConfig, full_mask_logits
from spin_jax.objectives.masked_modelling import MaskingConfig, corrupt, masked_cross_entropy
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class ASMOptimiserConfig(Section, where="config.asm."):
    """Adam after a clip of the gradient's global norm.

    The learning rate is constant (published), or falls to 0 as a cosine over decay_steps.
    """

    learning_rate: Positive
    clip_norm: Positive
    decay_steps: int = 0  # 0 = constant


def clip_by_global_norm(clip_norm: float) -> optax.GradientTransformation:
    """Scales the gradients by min(1, clip_norm / (their global norm + 1e-6)), as PyTorch does."""

    def update(grads, params):
        scale = jnp.minimum(1, clip_norm / (optax.global_norm(grads) + 1e-6))
        return jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)

    return optax.stateless(update)


class ASMState(NamedTuple):
    params: dict
    opt_state: optax.OptState
    step: jax.Array


def make_asm_learner(
    spec: ActionSpec,
    asm_config: ASMConfig,
    masking: MaskingConfig,
    config: ASMOptimiserConfig,
    corrupt: Callable[..., tuple] = corrupt,
) -> Learner:
    """The learner of the ASM; it does not use `frozen`, and of a batch it reads only observation and action.

    corrupt: what draws the slots to predict, with the signature of objectives.masked_modelling.corrupt.
    """
    asm = ASM(spec, asm_config)
    rate = config.learning_rate
    if config.decay_steps:
        rate = optax.cosine_decay_schedule(rate, config.decay_steps)
    optimiser = optax.chain(clip_by_global_norm(config.clip_norm), optax.adam(rate))

    def init(key, frozen, observation) -> ASMState:
        params = asm.init(key, observation, jnp.zeros((1, spec.num_slots), jnp.int32))["params"]
        return ASMState(params, optimiser.init(params), jnp.zeros((), jnp.int32))

    def update(state: ASMState, frozen, batch: Transition, key):
        """Corrupts the batch's actions, predicts the chosen slots, and takes an Adam step on their cross-entropy."""
        mask_key, dropout_key = jax.random.split(key)
        choices, chosen = corrupt(mask_key, batch.action, spec, masking)

        def loss_fn(params):
            rngs = {"dropout": dropout_key}
            logits = asm.apply({"params": params}, batch.observation, choices, deterministic=False, rngs=rngs)
            return masked_cross_entropy(logits, batch.action, chosen, spec.valid)

        (_, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimiser.update(grads, state.opt_state)
        metrics["grad_norm"] = optax.global_norm(grads)
        return ASMState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), metrics

    def act(state: ASMState, frozen, observation, key):
        """Behaviour cloning by the ASM alone: every slot from its distribution when all slots are masked."""
        logits = full_mask_logits(asm, state.params, observation)
        if key is None:
            return categorical.mode(logits, spec.valid)
        return categorical.sample(key, logits, spec.valid)

    return Learner(init, update, act)
