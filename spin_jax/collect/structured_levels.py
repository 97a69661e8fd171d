"""The behaviour of the structured problems: patterns of the state, with more or fewer random choices in them."""

import math

import numpy as np

from spin_jax.collect.behaviour import Act, Behaviour
from spin_jax.envs.structured import expected_return, heights, patterns
from spin_jax.envs.structured_names import StructuredConfig, knobs_of

# level -> ((share of the steps, share of random sub-actions in them), …)
MIXTURES = {"random": ((1.0, 1.0),), "medium": ((0.5, 0.0), (0.5, 0.5)), "expert": ((1.0, 0.0),)}


def structured_behaviour(task: str, bins: int, level: str, epsilon: float, rng: np.random.Generator) -> Act:
    """Plays one of the covered patterns of the state, uniformly; then sub-actions become random as the level says."""
    del bins
    knobs = knobs_of(task)
    right = patterns(knobs.cardinalities, knobs.num_patterns)
    shares, rates = np.array(_mixture(level, epsilon)).T

    def act(observation):
        rows = len(observation)
        pattern = right[heights(observation), rng.integers(knobs.num_covered, size=rows)]
        rate = rng.choice(rates, size=(rows, 1), p=shares)
        return np.where(rng.random(pattern.shape) < rate, rng.integers(0, knobs.cardinalities, pattern.shape), pattern)

    return act


def level_return(task: str, level: str, epsilon: float) -> float:
    """The mean return of a level with epsilon as in logs; its expected score is the same in all states."""
    knobs = knobs_of(task)
    return expected_return(sum(share * _score(knobs, rate) for share, rate in _mixture(level, epsilon)))


def product_return(task: str) -> float:
    """The mean return of the best product clone of expert actions: each slot draws its choice from a covered pattern.

    Every slot is right by itself; the action is a pattern with probability m^(1 - N), for m covered patterns.
    """
    knobs = knobs_of(task)
    together = float(knobs.num_covered) ** (1 - knobs.slots)
    return expected_return(1 - knobs.dependence * (1 - together))


def _mixture(level: str, epsilon: float) -> tuple[tuple[float, float], ...]:
    """As in MIXTURES, with epsilon besides; random stays as it is."""
    return tuple((share, 1 - (1 - rate) * (1 - epsilon)) for share, rate in MIXTURES[level])


def _score(knobs: StructuredConfig, rate: float) -> float:
    """The expected score of a pattern whose sub-actions become random with probability `rate`."""
    m, sizes = knobs.num_patterns, knobs.cardinalities
    alone = sum(1 - rate + rate * m / k for k in sizes) / len(sizes)
    together = math.prod(1 - rate + rate / k for k in sizes) + (m - 1) * math.prod(rate / k for k in sizes)
    return (1 - knobs.dependence) * alone + knobs.dependence * together


def level_card(task: str, bins: int, level: str) -> dict:
    """What the card of a level's log says of its policy."""
    knobs = knobs_of(task)
    of_those = f"{knobs.num_covered} of the {knobs.num_patterns} right joint actions of each state"
    names = {
        "random": "random: uniform over joint actions",
        "medium": f"{of_those}; in half of the steps, half of the sub-actions random",
        "expert": of_those,
    }
    return {"policy": names[level]}


STRUCTURED_LEVELS = Behaviour(structured_behaviour, level_card)
