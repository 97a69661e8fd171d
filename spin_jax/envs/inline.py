"""Several environments in the calling process, stepped one after another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spin_jax.envs.base import MakeEnv


class InlineGroup:
    """Several environments in the calling process, stepped one after another; RemoteGroup has the same methods."""

    def __init__(self, task: str, bins: int, num_envs: int, make_env: MakeEnv):
        self._envs = [make_env(task, bins) for _ in range(num_envs)]
        self.spec, self.num_features = self._envs[0].spec, self._envs[0].num_features
        self._waiting = [None] * num_envs  # what step returns for an environment after its `last` step
        self._result = None

    def open(self) -> None:
        """Does nothing: environments in this process are ready when they are made."""

    def send(self, method: str, argument: Any) -> None:
        """Call a method: reset (argument: seeds), reset_one ((index, seed)) or step (action [B, N])."""
        self._result = getattr(self, method)(argument)

    def receive(self) -> Any:
        """The result of the last `send`."""
        return self._result

    def close(self) -> None:
        self._envs = []

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        return np.stack([self.reset_one((i, seed)) for i, seed in enumerate(seeds)])

    def reset_one(self, argument: tuple[int, int]) -> np.ndarray:
        index, seed = argument
        self._waiting[index] = None
        return self._envs[index].reset(seed)

    def _step_one(self, index, action):
        if self._waiting[index]:
            return self._waiting[index]
        observation, reward, terminal, last = self._envs[index].step(action)
        if last:
            self._waiting[index] = (observation, 0.0, terminal, True)
        return observation, reward, terminal, last

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        steps = [self._step_one(i, action) for i, action in enumerate(actions)]
        observation, reward, terminal, last = zip(*steps, strict=True)
        return np.stack(observation), np.asarray(reward, np.float32), np.asarray(terminal), np.asarray(last)

    def replay(self, argument: tuple[int, int, Sequence[np.ndarray]]) -> None:
        """Reset environment `index` with `seed` and play actions [T, N]; argument is (index, seed, actions)."""
        index, seed, actions = argument
        self.reset_one((index, seed))
        for action in actions:
            self._step_one(index, action)
