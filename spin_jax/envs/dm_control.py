"""The factorised DM Control suite (Beeson, Ireland, Montana, TMLR 2024); the only importer of dm_control.

A continuous action dimension becomes K equally spaced values in [-1, 1] (3 bins: -1, 0, 1). Observations are the
task's arrays flattened and concatenated in the suite's own order. An episode has 1000 control steps; none of these
tasks terminates early, so the discount stays 1 at the time limit.
"""

import os
from typing import NamedTuple

import numpy as np
from absl import logging

from spin_jax.types import ActionSpec


class Task(NamedTuple):
    """Facts of one task, with the suite's published reference returns (undiscounted, 1000 steps)."""

    domain: str
    task: str
    num_features: int  # S
    num_slots: int  # N
    random_return: float
    expert_return: dict[int, float]  # by bins


TASKS = {
    "finger_spin": Task("finger", "spin", 9, 2, 4.36, {3: 853.62}),
    "fish_swim": Task("fish", "swim", 24, 5, 72.32, {3: 418.58}),
    "cheetah_run": Task("cheetah", "run", 17, 6, 5.39, {3: 664.57}),
    "quadruped_walk": Task("quadruped", "walk", 78, 12, 121.37, {3: 781.19}),
    "humanoid_stand": Task("humanoid", "stand", 67, 21, 4.54, {3: 711.90}),
    "dog_trot": Task(
        "dog", "trot", 223, 38, 7.32, {3: 724.37, 10: 736.95, 30: 768.24, 50: 752.58, 75: 803.05, 100: 756.86}
    ),
}
EPISODE_STEPS = 1000


class RenderingError(RuntimeError):
    """The renderer that MUJOCO_GL names is not there; the message says what to install."""


def load_suite():
    """dm_control's suite module; rendering stays off unless MUJOCO_GL was set before.

    Raises RenderingError where the renderer that MUJOCO_GL names cannot be loaded.
    """
    os.environ.setdefault("MUJOCO_GL", "disable")
    # one deprecation notice of MuJoCo's own model compiler for every environment, about files we do not own
    logging.get_absl_logger().addFilter(_not_settotalmass)
    try:
        from dm_control import suite
    except (ImportError, RuntimeError, AttributeError) as error:
        raise RenderingError(
            f"dm_control cannot be loaded with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}). For pictures install "
            f"EGL (Debian: libegl1 libgl1-mesa-dri) or OSMesa (libosmesa6, MUJOCO_GL=osmesa); MUJOCO_GL=disable does "
            f"without them."
        ) from error
    return suite


def _not_settotalmass(record) -> bool:
    return "settotalmass" not in str(record.getMessage())


class DMControlEnv:
    """One task with discretised actions: reset(seed) -> [S], step(action [N]) -> ([S], reward, terminal, last).

    Everything random in an episode follows from reset's seed alone, so results do not depend on which process
    plays which episode.
    """

    def __init__(self, name: str, bins: int):
        if name not in TASKS:
            raise ValueError(f"Unknown task {name!r}; known tasks: {', '.join(sorted(TASKS))}.")
        if bins < 2:
            raise ValueError(f"bins must be at least 2, got {bins}.")
        self.task = TASKS[name]
        self.spec = ActionSpec((bins,) * self.task.num_slots)
        self._env = load_suite().load(self.task.domain, self.task.task)
        self._values = np.linspace(-1.0, 1.0, bins)

    def reset(self, seed: int) -> np.ndarray:
        # dm_control reads its task's private random state at every reset; it offers no public way to reseed.
        self._env.task._random = np.random.RandomState(np.random.SeedSequence(seed).generate_state(4))
        return self._flatten(self._env.reset())

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        timestep = self._env.step(self._values[action])
        terminal = bool(timestep.last() and timestep.discount == 0.0)
        return self._flatten(timestep), float(timestep.reward), terminal, timestep.last()

    @property
    def control_seconds(self) -> float:
        """Simulated seconds of a control step."""
        return self._env.control_timestep()

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """[height, width, 3] uint8; needs MUJOCO_GL=egl or osmesa before the first import."""
        try:
            return self._env.physics.render(height, width, camera_id=0)
        except (ImportError, RuntimeError, AttributeError) as error:
            raise RenderingError(f"Rendering failed with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}).") from error

    @staticmethod
    def _flatten(timestep) -> np.ndarray:
        return np.concatenate([np.ravel(v) for v in timestep.observation.values()]).astype(np.float32)
