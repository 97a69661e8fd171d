"""What the behaviour policies of a task are: a pair of functions, in BEHAVIOURS (behaviours.py)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Act = Callable[[np.ndarray], np.ndarray]  # observation [B, S] -> joint actions [B, N]


class Behaviour(NamedTuple):
    """The behaviour policies of a task, one for each of its levels (envs.tasks.Task.levels).

    make(task, bins, level, epsilon, rng) -> Act; every level but 'random', which is uniform over joint actions, has a
        share epsilon of random sub-actions. card(task, bins, level) -> what the card of a log says of its policy.
    """

    make: Callable[[str, int, str, float, np.random.Generator], Act]
    card: Callable[[str, int, str], dict]


def uniform(rng: np.random.Generator, choices: int | np.ndarray, num_slots: int) -> Act:
    """Uniform joint actions; choices: of each slot [N], or of all of them."""
    return lambda observation: rng.integers(0, choices, (len(observation), num_slots))


def explore(act: Act, epsilon: float, rng: np.random.Generator, choices: int | np.ndarray) -> Act:
    """`act`, with each sub-action replaced by a uniform choice with probability epsilon; choices as in `uniform`."""

    def explored(observation):
        best = act(observation)
        return np.where(rng.random(best.shape) < epsilon, rng.integers(0, choices, best.shape), best)

    return explored
