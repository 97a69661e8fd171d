"""What a learner is: pure functions of a state, which is a NamedTuple of arrays only."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from spin_jax.fields import Fraction, Positive, Section, Size


@dataclasses.dataclass(frozen=True)
class LearnerConfig(Section):
    """Settings of a learner, with the properties that the rest of the program reads."""

    @property
    def discount(self) -> float:
        """The discount of one step inside of an n-step target; 1 for a learner without targets."""
        return 1.0

    @property
    def policy_starts_at(self) -> int:
        """The gradient step at which the policy begins to learn."""
        return 0

    @property
    def best_share(self) -> float:
        """The share of the log's episodes, those of the highest returns, that the learner is trained on."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class CriticLearnerConfig(LearnerConfig):
    """Settings of a learner with critics. Published: 0.99, 0.005, 3e-4, 1, 'sum', 2, 256.

    gamma: discount of one step. tau: Polyak step of the targets. learning_rate: of Adam, for all networks; lr_decay:
    its factor after every gradient step. q: Q is the 'sum' (SPIN's code) or the 'mean' (DecQN) of the slots' utilities.
    num_critics: E; critic_width: units of each of a critic's two hidden layers.
    """

    gamma: Fraction
    tau: Fraction
    learning_rate: Positive
    lr_decay: Fraction
    q: Literal["sum", "mean"]
    num_critics: Size
    critic_width: Size

    @property
    def discount(self) -> float:
        return self.gamma


class Learner(NamedTuple):
    """An algorithm as pure functions, in the style of optax.

    init(key, frozen, observation [1, S]) -> state: a NamedTuple of arrays, so that donation, checkpoints and vmap over
        seeds need no extra code. Of the observation only the shape is used.
    update(state, frozen, batch, key) -> (state, metrics): one gradient step; its docstring lists the order of its
        sub-updates. `frozen` is a tree that is never differentiated nor optimised (the ASM), or ().
    act(state, frozen, observation [B, S], source) -> action [B, N]: greedy if source is None, otherwise sampled with a
        key or with noise [B, G] (models.gumbel).
    asks_next: update evaluates the policy at s' too, so a policy with `encode` needs x of the next states.
    greedy_noise [G]: act with this noise in every row is act without a source; None where act takes no noise.
    probabilities(state, frozen, observation) -> [B, N, K]: with which probability act plays each choice of each slot,
        exact. None where slots depend on each other, or if critics have the last word.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, dict]]
    act: Callable[..., Any]
    asks_next: bool = False
    greedy_noise: np.ndarray | None = None
    probabilities: Callable[..., Any] | None = None


def compiled_init(learner: Learner) -> Callable[..., Any]:
    """learner.init as one program: operation by operation it would compile some 200 programs, in 10 seconds.

    On a CPU it is compiled without optimisation, which takes a third of the time.
    """
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(learner.init, compiler_options=options)


def state_like(learner: Learner, frozen: Any, observation: Any) -> Any:
    """Shapes and dtypes of the learner's state, as jax.ShapeDtypeStructs; nothing is computed or compiled.

    frozen, observation: arrays or their shapes.
    """
    return jax.eval_shape(functools.partial(learner.init, jax.random.key(0)), frozen, observation)
