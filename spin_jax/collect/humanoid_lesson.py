"""What the behaviour policy of humanoid-stand learns in, as random play hardly ever earns a reward of this task.

A policy is judged by the task alone; all of this is for training only.
"""

import math
import pathlib

import numpy as np

from spin_jax.envs.dm_control import DMControlEnv

STARTS = pathlib.Path(__file__).parent / "weights" / "humanoid_stand_starts.npz"
FROM_STARTS, FROM_UPRIGHT = 0.6, 0.2  # shares of the episodes
HEAD_HEIGHT, UPRIGHTNESS = 21, 36  # features: metres, and the z of the torso's own vertical
STANDING = 1.4  # metres; the head of a humanoid that stands
RISEN, FALLEN, LOW_STEPS = 1.1, 0.7, 20  # metres, metres, control steps
SHORT, LONG = 300, 600  # most control steps of an episode, from a planner's state and from others


class HumanoidLesson(DMControlEnv):
    """humanoid-stand with dense rewards, helpful starts and an end after a fall (envs.base.Env).

    Rewards are half the task's, half the height of the head times uprightness. Six of ten episodes begin in states that
    a planner went through (collect.humanoid_planner), two of ten upright. An episode ends LOW_STEPS after the head fell
    below FALLEN, if it had been above RISEN. No end is a termination: the value of the next state counts.
    """

    def __init__(self, name: str, bins: int):
        super().__init__(name, bins)
        with np.load(STARTS, allow_pickle=False) as arrays:
            self._starts = arrays["qpos"].astype(float), arrays["qvel"].astype(float)
        self._left = self._low = 0  # steps until the end, and steps since a fall
        self._highest = 0.0

    def reset(self, seed: int) -> np.ndarray:
        observation, rng = super().reset(seed), np.random.default_rng(seed)
        kind, index = rng.random(), rng.integers(len(self._starts[0]))
        if kind < FROM_STARTS:
            observation = self.place(*(values[index] for values in self._starts))
        elif kind < FROM_STARTS + FROM_UPRIGHT:
            observation = self.place(*upright(rng, *(len(values[0]) for values in self._starts)))
        self._left, self._low, self._highest = SHORT if kind < FROM_STARTS else LONG, 0, observation[HEAD_HEIGHT]
        return observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        observation, reward, terminal, last = super().step(action)
        height = float(observation[HEAD_HEIGHT])
        self._highest = max(self._highest, height)
        self._low = self._low + 1 if height < FALLEN and self._highest > RISEN else 0
        self._left -= 1
        last = last or self._left == 0 or self._low > LOW_STEPS
        return observation, 0.5 * reward + 0.5 * lifted(height, float(observation[UPRIGHTNESS])), terminal, last


def upright(rng: np.random.Generator, positions: int, velocities: int) -> tuple[np.ndarray, np.ndarray]:
    """qpos and qvel of a humanoid that stands with any heading, joints nearly straight and nearly at rest."""
    heading = rng.uniform(-math.pi, math.pi)
    root = [0, 0, 1.28, math.cos(heading / 2), 0, 0, math.sin(heading / 2)]
    return np.append(root, rng.normal(0, 0.05, positions - len(root))), rng.normal(0, 0.05, velocities)


def lifted(height: float, uprightness: float) -> float:
    """Height of the head as a share of STANDING, times how upright the torso is, in [0, 1].

    height: metres; uprightness: cosine between the torso's vertical and the world's.
    """
    return min(max(height, 0.0), STANDING) / STANDING * (0.5 + 0.5 * max(uprightness, 0.0))
