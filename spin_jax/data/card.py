"""The card of a log, as a dictionary and as a table: its returns, its variety, the dependence between its slots."""

import math
from collections.abc import Iterable

import numpy as np

from spin_jax.types import ActionSpec, Episode


def joint_counts(action: np.ndarray, cardinalities: tuple[int, ...]) -> np.ndarray:
    """How often each joint action of `action` [T, N] occurs, in no particular order: [number of different ones].

    Each row becomes one integer: its slots are the digits of a number, slot i in base K_i (mixed radix). Before that
    integer would overflow, the codes so far (at most T different ones) are replaced by 0, 1, 2, …
    """
    code: np.ndarray = np.zeros(len(action), np.uint64)
    size = 1  # every code is below this
    for slot, choices in enumerate(cardinalities):
        if size * choices > 2**63:
            known, code = np.unique(code, return_inverse=True)
            code, size = code.astype(np.uint64), len(known)
        code = code * np.uint64(choices) + action[:, slot].astype(np.uint64)
        size *= choices
    return np.unique(code, return_counts=True)[1]


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy -sum p log2 p, in bits, of the shares p of `counts` [any] (the plug-in estimate)."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum() + 0.0)  # + 0.0 turns -0.0 into 0.0


def data_card(episodes: Iterable[Episode], spec: ActionSpec, made_by: dict) -> dict:
    """Facts of a log, ready for JSON; episodes are read once, and only their actions and returns are kept.

    total_correlation_bits = sum of the slots' entropies - entropy of the joint action, over all states together: 0 if
    the slots are independent. This plug-in estimate is biased UPWARD if the log is short compared with the number of
    joint actions, because the joint entropy cannot exceed log2(transitions).
    unique_joint_actions: count, share_of_transitions (1 = no joint action occurs twice) and share_of_all (of the
    product of the cardinalities). made_by: the origin of the log. Actions must be in range
    (data.dataset.check_episodes).
    """
    actions, returns, terminal = [], [], 0
    for episode in episodes:
        actions.append(episode.action.astype(np.min_scalar_type(spec.num_choices - 1)))
        returns.append(float(episode.reward.sum(dtype=np.float64)))
        terminal += bool(episode.terminal)
    action = np.concatenate(actions)
    joint = joint_counts(action, spec.cardinalities)
    slots = [entropy_bits(np.bincount(action[:, i], minlength=k)) for i, k in enumerate(spec.cardinalities)]
    return {
        "transitions": len(action),
        "episodes": len(returns),
        "terminal_episodes": terminal,
        "return_mean": float(np.mean(returns)),
        "return_min": min(returns),
        "return_max": max(returns),
        "cardinalities": list(spec.cardinalities),
        "unique_joint_actions": {
            "count": len(joint),
            "share_of_transitions": len(joint) / len(action),
            "share_of_all": len(joint) / math.prod(spec.cardinalities),
        },
        "slot_entropy_bits": slots,
        "total_correlation_bits": max(sum(slots) - entropy_bits(joint), 0.0),
        "made_by": made_by,
    }


def card_table(cards: dict[str, dict]) -> str:
    """A text table with one row for each split; joint actions: the number of different ones, and its share of T."""
    head = ("split", "transitions", "episodes", "terminal", "return (min to max)", "joint actions", "bits a slot")
    rows = [(*head, "total correlation")]
    for split, card in cards.items():
        unique, bits = card["unique_joint_actions"], np.log2(card["cardinalities"])
        rows.append((
            split, str(card["transitions"]), str(card["episodes"]), str(card["terminal_episodes"]),
            f"{card['return_mean']:.1f} ({card['return_min']:.1f} to {card['return_max']:.1f})",
            f"{unique['count']} ({unique['share_of_transitions']:.2%})",
            f"{np.mean(card['slot_entropy_bits']):.2f} of {np.mean(bits):.2f}",
            f"{card['total_correlation_bits']:.2f} bits",
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)
