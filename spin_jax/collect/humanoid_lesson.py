"""What the behaviour policy of humanoid-stand learns in, as random play hardly ever earns a reward of this task.

A policy is judged by the task alone; all of this is for training only.
"""

import math
import pathlib

import numpy as np

from spin_jax.envs.dm_control import DMControlEnv

STARTS = pathlib.Path(__file__).parent / "weights" / "humanoid_stand_starts.npz"
FROM_UPRIGHT, FROM_STARTS = 0.65, 0.25  # shares of the episodes
HEAD_HEIGHT, UPRIGHTNESS, RISING = 21, 36, 39  # features: metres; cosine of the torso's tilt; metres a second
STANDING = 1.4  # metres; the head of a humanoid that stands
RISEN = 1.1  # metres; a head that was above this may fall
FALLEN = {True: (1.2, 5), False: (0.7, 20)}  # began upright? -> metres, control steps below that end an episode
LONGEST = 600  # control steps of an episode, if it does not fall


class HumanoidLesson(DMControlEnv):
    """humanoid-stand with dense rewards, helpful starts and an end after a fall (envs.base.Env).

    Rewards are half the task's, half those of a lifted head, both times `calm`. Of ten episodes, six or seven begin
    upright, so that many frames are about balance; two or three begin in states that a planner went through
    (collect.humanoid_planner), one as the task's own. An episode ends soon after a fall. No end is a termination: the
    value of the next state counts.
    """

    def __init__(self, name: str, bins: int):
        super().__init__(name, bins)
        with np.load(STARTS, allow_pickle=False) as arrays:
            self._starts = arrays["qpos"].astype(float), arrays["qvel"].astype(float)
        self._left = self._low = 0  # control steps until the end, and since a fall
        self._highest, self._upright = 0.0, False

    def reset(self, seed: int) -> np.ndarray:
        observation, rng = super().reset(seed), np.random.default_rng(seed)
        kind, index = rng.random(), rng.integers(len(self._starts[0]))
        self._upright = kind < FROM_UPRIGHT
        if self._upright:
            observation = self.place(*upright(rng, *(len(values[0]) for values in self._starts)))
        elif kind < FROM_UPRIGHT + FROM_STARTS:
            observation = self.place(*(values[index] for values in self._starts))
        self._left, self._low, self._highest = LONGEST, 0, observation[HEAD_HEIGHT]
        return observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        observation, reward, terminal, last = super().step(action)
        height, uprightness, rising = map(float, observation[[HEAD_HEIGHT, UPRIGHTNESS, RISING]])
        low, steps = FALLEN[self._upright]
        self._highest = max(self._highest, height)
        self._low = self._low + 1 if height < low and self._highest > RISEN else 0
        self._left -= 1
        last = last or self._left == 0 or self._low > steps
        return observation, calm(rising) * (0.5 * reward + 0.5 * lifted(height, uprightness)), terminal, last


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


def calm(speed: float) -> float:
    """1 where the centre of mass neither rises nor falls, 0.1 at 1 metre a second.

    Without it the humanoid jumps, lands and jumps again, for about 0.4 of the task's highest return.
    """
    return 0.1 ** (speed * speed)
