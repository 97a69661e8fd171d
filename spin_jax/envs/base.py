"""What an environment is: a protocol, so that a new one is a class of its own and a line in the registry."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from spin_jax.types import ActionSpec


class Env(Protocol):
    """One environment with joint actions.

    Everything random in an episode follows from reset's seed alone, so results depend neither on the process that plays
    an episode nor on what was played before.
    """

    spec: ActionSpec
    num_features: int  # S

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode; its first observation, [S] float32."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Play action [N]: (observation [S], reward, terminal, last).

        terminal: the episode ended for good. last: it ended, for good or by a time limit.
        """
        ...

    @property
    def control_seconds(self) -> float:
        """Simulated seconds of a step."""
        ...

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """A picture of the present state, [height, width, 3] uint8."""
        ...


MakeEnv = Callable[[str, int], Env]  # (task, bins) -> a new environment; picklable, as worker processes call it
