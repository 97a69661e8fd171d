"""Draws joint actions from the ASM by iterative unmasking: all slots start masked, the most confident ones come first.

In each of r rounds the ASM sees the state and the slots that are already chosen. The slots with the most probable best
choices are chosen next: one in the first round, then more and more, because slots of one round are drawn independently
of each other, and the more are known, the less that matters. Which slots come next depends on earlier choices only,
never on their own draws. So the exact probability of a joint action is the product over rounds. r = 1 is one pass,
which gives a product distribution; r = N chooses one slot at a time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.models import categorical
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.models.gumbel import for_draws, split


def round_sizes(num_slots: int, rounds: int) -> np.ndarray:
    """The number of slots chosen in each round, [r]; after round i, N^((i - 1) / (r - 1)) or at least i are chosen."""
    after = np.arange(1, min(rounds, num_slots) + 1)
    known = np.round(num_slots ** np.linspace(1, 0, len(after))[::-1])
    return np.diff(np.maximum(known, after), prepend=0).astype(int)


def next_slots(logits: jax.Array, masked: jax.Array, size: jax.Array, valid: np.ndarray) -> jax.Array:
    """[B, N] bool, True for the `size` masked slots with the most probable best choices; of equal ones the first.

    The best choice's probability p is compared as (1 - p) / p, the sum of exp(logit - best logit) over the others. So
    slots that are all but certain keep their order, where log p would round to 0.
    """
    logits = jnp.where(valid[None], logits, -jnp.inf)
    is_best = jnp.arange(valid.shape[1])[None, None] == logits.argmax(-1)[..., None]
    doubt = jnp.where(is_best, 0, jnp.exp(logits - logits.max(-1, keepdims=True))).sum(-1)
    rank = jnp.argsort(jnp.argsort(jnp.where(masked, doubt, jnp.inf), axis=-1), axis=-1)
    return masked & (rank < size)


def unmask(
    asm: ASM,
    params: Any,
    observation: jax.Array,
    source: jax.Array | None,
    *,
    rounds: int,
    count: int = 1,
    threshold: float = 0.0,
) -> jax.Array:
    """`count` joint actions for each state, [count, B, N] int32; without a source, every slot takes its best choice.

    source: a key, or noise [B, count r N K] in the order draw, round, slot, choice (models.gumbel). threshold: choices
    that are less than this times as probable as their slot's best one are not drawn. The first round is computed once
    for each state, whatever the count.
    """
    spec, batch = asm.spec, observation.shape[0]
    sizes = jnp.asarray(round_sizes(spec.num_slots, rounds))
    choices = jnp.full((batch, spec.num_slots), spec.num_choices)
    # a state's draws are neighbours, so that a batch that is split over devices stays where it is
    first, observation, choices = (
        jnp.repeat(x, count, axis=0) for x in (full_mask_logits(asm, params, observation), observation, choices)
    )
    sources = jnp.zeros(len(sizes)) if source is None else split(for_draws(source, count), len(sizes))

    def choose(choices, logits, size, source_r):
        if source is None:
            drawn = categorical.mode(logits, spec.valid)
        else:
            allowed = categorical.support(logits, spec.valid, threshold)
            drawn = categorical.sample(source_r, jnp.where(allowed, logits, -jnp.inf), spec.valid)
        return jnp.where(next_slots(logits, choices == spec.num_choices, size, spec.valid), drawn, choices)

    def one_round(choices, inputs):
        return choose(choices, asm.apply({"params": params}, observation, choices), *inputs), None

    choices = choose(choices, first, sizes[0], sources[0])
    choices, _ = jax.lax.scan(one_round, choices, (sizes[1:], sources[1:]))
    return choices.reshape(batch, count, spec.num_slots).swapaxes(0, 1).astype(jnp.int32)


def unmasking_log_prob(asm: ASM, params: Any, observation: jax.Array, actions: jax.Array, *, rounds: int) -> jax.Array:
    """The log-probability [B] that `unmask` with the same rounds and no threshold draws actions [B, N]."""
    spec = asm.spec

    def one_round(carry, size):
        choices, total = carry
        logits = asm.apply({"params": params}, observation, choices)
        now = next_slots(logits, choices == spec.num_choices, size, spec.valid)
        chosen = categorical.take(categorical.log_softmax(logits, spec.valid), actions)
        return (jnp.where(now, actions, choices), total + jnp.where(now, chosen, 0).sum(-1)), None

    start = jnp.full(actions.shape, spec.num_choices), jnp.zeros(actions.shape[0])
    return jax.lax.scan(one_round, start, jnp.asarray(round_sizes(spec.num_slots, rounds)))[0][1]


def proposals(asm: ASM) -> Callable[..., jax.Array]:
    """propose(frozen, observation, key, count) -> [count, B, N]: joint actions drawn from the ASM in one pass."""

    def propose(frozen, observation, key, count):
        return unmask(asm, frozen, observation, key, rounds=1, count=count)

    return propose
