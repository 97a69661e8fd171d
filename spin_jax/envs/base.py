"""What an environment is: a protocol. A new environment is a class with these methods and a line in the registry."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from spin_jax.types import ActionSpec


class Env(Protocol):
    """One environment with joint actions.

    All randomness of an episode follows from the seed of its reset. So results depend neither on the process that plays
    the episode nor on earlier episodes.
    """

    spec: ActionSpec
    num_features: int  # S

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode; returns its first observation, [S] float32."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Play action [N]; returns (observation [S], reward, terminal, last).

        terminal: the episode ended by termination. last: it ended, by termination or by a time limit.
        """
        ...

    @property
    def control_seconds(self) -> float:
        """Simulated seconds that one step takes."""
        ...

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """A picture of the current state, [height, width, 3] uint8."""
        ...


MakeEnv = Callable[[str, int], Env]  # (task, bins) -> a new environment; must be picklable: worker processes call it
