"""Types that all parts of the package share, and the glossary of shapes.

Glossary (the letters used in every docstring): B batch · S state width · N sub-actions (slots of a joint
action) · K choices of the largest slot (smaller slots are padded to K and masked) · M state tokens · D model
width · H attention heads · L blocks · E critics · T transitions.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

Array = Any  # a numpy or a jax array; importing jax here would make every environment worker pay for it


@dataclasses.dataclass(frozen=True)
class ActionSpec:
    """The space of joint actions: slot i takes one of `cardinalities[i]` choices.

    Raises ValueError when there is no slot or a slot has no choice.
    """

    cardinalities: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "cardinalities", tuple(int(k) for k in self.cardinalities))
        if not self.cardinalities or min(self.cardinalities) < 1:
            raise ValueError(
                f"ActionSpec.cardinalities must name at least one slot with at least one choice each, "
                f"got {self.cardinalities}."
            )

    @property
    def num_slots(self) -> int:
        """N, the number of slots."""
        return len(self.cardinalities)

    @property
    def num_choices(self) -> int:
        """K, the largest cardinality."""
        return max(self.cardinalities)

    @property
    def valid(self) -> np.ndarray:
        """[N, K] bool: True if slot i has choice k, False on padding."""
        return np.arange(self.num_choices)[None, :] < np.asarray(self.cardinalities)[:, None]


class Feature(NamedTuple):
    """Where one feature of an observation comes from in the rows of a log.

    item: its index in a column that holds lists; None for a column of single values. category: the feature is 1 in rows
    with this value of the column and 0 in others (one-hot); None for a number that is read as it is.
    """

    column: str
    item: int | None = None
    category: Any = None

    @property
    def name(self) -> str:
        """age, observation[3], ward=B."""
        item = "" if self.item is None else f"[{self.item}]"
        category = "" if self.category is None else f"={self.category}"
        return f"{self.column}{item}{category}"


class Spaces(NamedTuple):
    """What a policy reads and answers, in the words of its task or log: S features, N slots and their choices."""

    features: tuple[Feature, ...]
    slots: tuple[str, ...]
    choices: tuple[tuple[Any, ...], ...]  # of each slot: the names (or numbers) of its choices, in their order

    @property
    def spec(self) -> ActionSpec:
        """The joint actions."""
        return ActionSpec(tuple(len(names) for names in self.choices))

    @property
    def num_features(self) -> int:
        """S, the width of an observation."""
        return len(self.features)


def numbered_spaces(num_features: int, spec: ActionSpec) -> Spaces:
    """Spaces without names: observation[0] …, slot_0 …, and choices 0, 1, …"""
    return Spaces(
        tuple(Feature("observation", i) for i in range(num_features)),
        tuple(f"slot_{i}" for i in range(spec.num_slots)),
        tuple(tuple(range(k)) for k in spec.cardinalities),
    )


class Transition(NamedTuple):
    """A batch of transitions (s, a, r, discount, s'), so that r + gamma * discount * V(s') is the target of Q(s, a).

    discount is 0 if the episode terminated in s' and 1 otherwise. A time limit is a truncation: discount stays 1.
    n-step transitions (train.n_step) cover m steps: m = n, or fewer at the end of an episode. Then r is the sum of
    gamma^k r_{t+k} for k = 0 … m - 1, s' is the state after the m steps, and a discount of 1 becomes gamma^(m - 1).
    x, next_x: what the policy reads in place of s and s' (policies.base.Policy.encode); None if it reads s and s'.
    """

    observation: Array  # [B, S] float32
    action: Array  # [B, N] int32, choice of each slot
    reward: Array  # [B] float32
    discount: Array  # [B] float32 in [0, 1]
    next_observation: Array  # [B, S] float32
    x: Array | None = None
    next_x: Array | None = None


class Episode(NamedTuple):
    """One episode of T steps and T + 1 observations; `terminal`: it ended by termination, not by a time limit.

    propensity: the probability with which the logging policy chose each joint action; None if the log does not say.
    """

    observation: np.ndarray  # [T + 1, S] float32
    action: np.ndarray  # [T, N] int32
    reward: np.ndarray  # [T] float32
    terminal: bool
    propensity: np.ndarray | None = None  # [T] float32 in (0, 1]


class Normaliser(NamedTuple):
    """Mean and standard deviation of each feature, for `normalise`; mean 0, std 1, clip inf change nothing."""

    mean: Array  # [S]
    std: Array  # [S]
    clip: Array  # scalar, in standard deviations


def identity_normaliser(num_features: int) -> Normaliser:
    """The normaliser that changes nothing, for S features."""
    return Normaliser(np.zeros(num_features, np.float32), np.ones(num_features, np.float32), np.float32(np.inf))


def normalise(normaliser: Normaliser, observation: Array) -> Array:
    """(observation - mean) / std, clipped to [-clip, clip]; observation [B, S], a numpy or a jax array."""
    scaled = (observation - normaliser.mean[None, :]) / normaliser.std[None, :]
    return scaled.clip(-normaliser.clip, normaliser.clip)
