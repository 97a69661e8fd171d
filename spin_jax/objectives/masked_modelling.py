"""Masked modelling of joint actions (Algorithm 1): the choice of the slots to predict, and the loss on those slots."""

import dataclasses
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.errors import ConfigError
from spin_jax.fields import Fraction, Section, Share
from spin_jax.models.categorical import log_softmax, take
from spin_jax.types import ActionSpec

Masking = Literal["fixed", "full_range"]


@dataclasses.dataclass(frozen=True)
class MaskingConfig(Section, where="config.asm."):
    """How slots are chosen and replaced.

    masking 'fixed' (published): each slot is chosen with probability mask_rate. 'full_range' (ours): each row draws its
    own rate from U(0, 1), and with probability full_mask_share all slots of a row are chosen. Of the chosen slots, the
    share replace_mask becomes [MASK], the share replace_random a uniform random choice of the slot, and the rest stays
    (0.8 and 0.1 as published; 1 and 0 with 'full_range'). Raises ValueError on other values of masking and on shares
    outside of [0, 1].
    """

    masking: Masking
    mask_rate: Fraction
    full_mask_share: Share
    replace_mask: Share
    replace_random: Share

    def agree(self) -> None:
        if self.replace_mask + self.replace_random > 1 + 1e-9:
            raise ConfigError(
                f"{self.where}replace_mask {self.replace_mask} and replace_random {self.replace_random} must sum to at "
                "most 1."
            )


def choose_slots(key: jax.Array, shape: tuple[int, ...], config: MaskingConfig) -> jax.Array:
    """[B, N] bool, True for chosen slots; at least one in the batch is chosen."""
    slot_key, rate_key, full_key = jax.random.split(key, 3)
    draw = jax.random.uniform(slot_key, shape)
    if config.masking == "fixed":
        chosen = draw < config.mask_rate
    else:
        chosen = draw < jax.random.uniform(rate_key, (shape[0], 1))
        chosen |= jax.random.uniform(full_key, (shape[0], 1)) < config.full_mask_share
    return chosen | (~chosen.any() & (draw == draw.min()))


def corrupt(key: jax.Array, actions: jax.Array, spec: ActionSpec, config: MaskingConfig) -> tuple[jax.Array, jax.Array]:
    """(choices, chosen): actions [B, N] with the chosen slots replaced (K is [MASK]); [B, N] bool, the chosen slots."""
    chex.assert_shape(actions, (None, spec.num_slots))
    choose_key, kind_key, random_key = jax.random.split(key, 3)
    chosen = choose_slots(choose_key, actions.shape, config)
    kind = jax.random.uniform(kind_key, actions.shape)
    random = jax.random.randint(random_key, actions.shape, 0, np.asarray(spec.cardinalities)[None, :])
    replaced = jnp.where(kind < config.replace_mask + config.replace_random, random, actions)
    replaced = jnp.where(kind < config.replace_mask, spec.num_choices, replaced)
    return jnp.where(chosen, replaced, actions), chosen


def masked_cross_entropy(
    logits: jax.Array, actions: jax.Array, chosen: jax.Array, valid: np.ndarray
) -> tuple[jax.Array, dict]:
    """(loss, metrics): the cross-entropy summed over the chosen slots, divided by their number (+ 1e-8, as published).

    logits [B, N, K], actions [B, N] (the true ones), chosen [B, N] bool, valid [N, K]. Other slots never count.
    """
    chex.assert_equal_shape([actions, chosen])
    chex.assert_shape(logits, (*actions.shape, None))
    count = chosen.sum()
    # where() before the sum: a slot that was not chosen contributes neither value nor gradient
    loss = jnp.where(chosen, -take(log_softmax(logits, valid), actions), 0.0).sum() / (count + 1e-8)
    hits = chosen & (jnp.where(valid[None], logits, -jnp.inf).argmax(-1) == actions)
    return loss, {"masked_cross_entropy": loss, "masked_accuracy": hits.sum() / count}
