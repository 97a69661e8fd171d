"""What a learner is: pure functions over a state that is a NamedTuple of arrays only."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """Settings of a learner, and what they tell the rest of the program."""

    @property
    def discount(self) -> float:
        """Discount of a step inside of an n-step target; 1 for a learner without targets."""
        return 1.0

    @property
    def policy_starts_at(self) -> int:
        """The gradient step at which the policy begins to learn."""
        return 0


@dataclasses.dataclass(frozen=True)
class CriticLearnerConfig(LearnerConfig):
    """Settings of a learner with critics: gamma, the discount a step."""

    gamma: float

    @property
    def discount(self) -> float:
        return self.gamma


class Learner(NamedTuple):
    """An algorithm as pure functions, as optax does it.

    init(key, frozen, observation [1, S]) -> state: a NamedTuple of arrays, so donation, checkpoints and vmap over seeds
        come for nothing. Of the observation only the shape is read.
    update(state, frozen, batch, key) -> (state, metrics): one gradient step; its docstring lists the order of its
        sub-updates. `frozen` is a tree that is never differentiated nor optimised (the ASM), or ().
    act(state, frozen, observation [B, S], key) -> action [B, N]: greedy where key is None, sampled otherwise.
    asks_next: whether update asks the policy about s'.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, dict]]
    act: Callable[..., Any]
    asks_next: bool = False
