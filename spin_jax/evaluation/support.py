"""Whether a log has what a policy does, slot by slot: it decides if a value from off-policy evaluation is worth a look.

Jointly hardly any policy is supported: with N slots a log has few of all joint actions. So the gate is per slot.
"""

from typing import NamedTuple

import numpy as np

from spin_jax.evaluation.off_policy import blocks
from spin_jax.types import ActionSpec

RARE = 0.1  # a choice is rare if the behaviour makes it with less than this share of a uniform choice's probability
ENOUGH = 0.9  # coverage from which on a slot is supported


class SlotSupport(NamedTuple):
    """A policy against the cloned behaviour in the states of a log; all [N]."""

    coverage: np.ndarray  # share of the policy's choices that are not rare in the behaviour, in [0, 1]
    effective_share: np.ndarray  # effective sample size of the slot's importance weights / rows, in (0, 1]
    disagreement: np.ndarray  # total variation distance from the behaviour, in [0, 1]
    entropy_bits: np.ndarray  # mean entropy of the policy's choice in a state

    @property
    def supported(self) -> np.ndarray:
        """[N] bool."""
        return self.coverage >= ENOUGH


def slot_support(policy: np.ndarray, behaviour: np.ndarray, action: np.ndarray, spec: ActionSpec) -> SlotSupport:
    """policy, behaviour: probabilities [T, N, K] of each slot's choices in T states; action: the logged choices [T, N].

    The effective share of slot i is (sum w)^2 / (T sum w^2) with w = pi_i(a_i|s) / b_i(a_i|s). It depends on single
    rows in which the clone is surprised; coverage does not, so coverage decides.
    """
    rare, rows, sums = RARE / np.asarray(spec.cardinalities), len(action), np.zeros((5, spec.num_slots))
    for at in blocks(rows):
        sums += _sums(policy[at], behaviour[at], action[at], rare)
    weight, squares, covered, apart, bits = sums
    share = weight**2 / (rows * squares).clip(1e-300)
    return SlotSupport(covered / rows, share, apart / 2 / rows, bits / rows)


def _sums(policy: np.ndarray, behaviour: np.ndarray, action: np.ndarray, rare: np.ndarray) -> np.ndarray:
    """[5, N], over some rows: weights, their squares, probability of what is not rare, distances, bits of entropy."""
    chosen = action[..., None].astype(int)
    ours, theirs = (np.take_along_axis(p, chosen, -1)[..., 0].astype(np.float64) for p in (policy, behaviour))
    weight = ours / np.maximum(theirs, rare[None, :])
    covered = (policy * (behaviour >= rare[None, :, None])).sum(-1)
    bits = -(policy * np.log2(np.where(policy > 0, policy, 1))).sum(-1)
    return np.stack([x.sum(0) for x in (weight, weight**2, covered, np.abs(policy - behaviour).sum(-1), bits)])


def joint_share(drawn: np.ndarray, logged: np.ndarray, spec: ActionSpec) -> float:
    """The share of joint actions `drawn` [B, N] that occur in `logged` [T, N], in whatever state."""
    view = np.dtype((np.void, spec.num_slots * 4))
    rows = [np.ascontiguousarray(a, np.int32).view(view).ravel() for a in (drawn, logged)]
    return float(np.isin(rows[0], np.unique(rows[1])).mean())


def in_words(support: SlotSupport, slots: tuple[str, ...]) -> str:
    """What may be believed of a value, in a sentence."""
    weak = np.flatnonzero(~support.supported)
    if not len(weak):
        return "supported in every slot"
    named = ", ".join(f"{slots[i]}" for i in weak[np.argsort(support.coverage[weak])][:3])
    more = f" and {len(weak) - 3} more" if len(weak) > 3 else ""
    plural = "slots" if len(weak) > 1 else "slot"
    return f"{plural} {named}{more}: chooses what the log hardly has; do not trust this value"
