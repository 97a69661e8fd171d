"""Makes n-step transitions out of episodes."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from spin_jax.errors import DataError
from spin_jax.types import Episode, Transition


def transitions(episodes: Sequence[Episode], n_step: int = 1, gamma: float = 1.0) -> Transition:
    """The n-step transitions (types.Transition) of all episodes, in order; none reaches beyond its episode's end.

    Raises DataError if there is no episode.
    """
    if not episodes:
        raise DataError("There is no episode to make transitions of: the split is empty.")
    returns = [_n_step(e, n_step, gamma) for e in episodes]
    return Transition(
        np.concatenate([e.observation[:-1] for e in episodes]),
        np.concatenate([e.action for e in episodes]),
        *(np.concatenate(column) for column in zip(*returns, strict=True)),
    )


def of_the_best(rows: Any, returns: np.ndarray, lengths: np.ndarray, share: float) -> Any:
    """The rows of the `share` of the episodes with the highest returns, at least one, in the log's order.

    rows: a tree of arrays [T, …]; returns, lengths: [episodes]; of equal returns, the earlier episode is taken.
    """
    if share == 1:
        return rows
    kept = np.zeros(len(returns), bool)
    kept[np.argsort(-returns, kind="stable")[: max(round(share * len(returns)), 1)]] = True
    chosen = np.flatnonzero(np.repeat(kept, lengths))
    return jax.tree.map(lambda column: column[chosen], rows)


def _n_step(episode: Episode, n_step: int, gamma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(reward [T], discount [T], next_observation [T, S]) of an episode's steps; rewards are summed in float64."""
    length = len(episode.reward)
    n_step = min(n_step, length)
    end = np.minimum(np.arange(length) + n_step, length)
    padded = np.concatenate([episode.reward, np.zeros(n_step - 1)])
    reward = np.sum([gamma**k * padded[k : k + length] for k in range(n_step)], axis=0)
    discount = gamma ** (end - np.arange(length) - 1.0)
    if episode.terminal:
        discount[end == length] = 0.0
    return reward.astype(np.float32), discount.astype(np.float32), episode.observation[end]
