"""What a learner is: pure functions of a state, which is a NamedTuple of arrays only."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """Settings of a learner, with the properties that the rest of the program reads."""

    @property
    def discount(self) -> float:
        """The discount of one step inside of an n-step target; 1 for a learner without targets."""
        return 1.0

    @property
    def policy_starts_at(self) -> int:
        """The gradient step at which the policy begins to learn."""
        return 0


@dataclasses.dataclass(frozen=True)
class CriticLearnerConfig(LearnerConfig):
    """Settings of a learner with critics; gamma is the discount of one step."""

    gamma: float

    @property
    def discount(self) -> float:
        return self.gamma


class Learner(NamedTuple):
    """An algorithm as pure functions, in the style of optax.

    init(key, frozen, observation [1, S]) -> state: a NamedTuple of arrays, so that donation, checkpoints and vmap over
        seeds need no extra code. Of the observation only the shape is used.
    update(state, frozen, batch, key) -> (state, metrics): one gradient step; its docstring lists the order of its
        sub-updates. `frozen` is a tree that is never differentiated nor optimised (the ASM), or ().
    act(state, frozen, observation [B, S], key) -> action [B, N]: greedy if key is None, sampled otherwise.
    asks_next: update evaluates the policy at s' too, so a policy with `encode` needs x of the next states.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, dict]]
    act: Callable[..., Any]
    asks_next: bool = False


def state_like(learner: Learner, frozen: Any, observation: Any) -> Any:
    """Shapes and dtypes of the learner's state, as jax.ShapeDtypeStructs; nothing is computed or compiled."""
    return jax.eval_shape(lambda: learner.init(jax.random.key(0), frozen, observation))
