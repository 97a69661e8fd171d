"""The factorised DM Control suite (Beeson, Ireland, Montana, TMLR 2024); no other module imports dm_control.

A continuous action dimension becomes K equally spaced values in [-1, 1] (3 bins: -1, 0, 1). Observations are the
task's arrays flattened and concatenated in the suite's own order. An episode has 1000 control steps; none of these
tasks terminates early, so the discount stays 1 at the time limit.
"""

import os
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging

from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.errors import RenderingError


def load_suite() -> ModuleType:
    """dm_control's suite module; rendering stays off unless MUJOCO_GL was set before.

    Raises RenderingError if the renderer that MUJOCO_GL names cannot be loaded.
    """
    os.environ.setdefault("MUJOCO_GL", "disable")
    # for every environment MuJoCo's compiler logs a deprecation notice about the suite's files, which are not ours
    logging.get_absl_logger().addFilter(_not_settotalmass)
    try:
        from dm_control import suite
    except (ImportError, RuntimeError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in ("dm_control", "mujoco"):
            raise RenderingError(
                f"This task is simulated by dm_control, and {error.name} is not installed: "
                f"pip install 'spin_jax[dm-control]'. A log of your own (configs/log.py) needs no simulator."
            ) from error
        raise RenderingError(
            f"dm_control cannot be loaded with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}). For pictures install "
            f"EGL (Debian: libegl1 libgl1-mesa-dri) or OSMesa (libosmesa6, MUJOCO_GL=osmesa); MUJOCO_GL=disable does "
            f"without them."
        ) from error
    return suite


def _not_settotalmass(record) -> bool:
    return "settotalmass" not in str(record.getMessage())


class DMControlEnv:
    """One task with discretised actions (envs.base.Env). Raises ValueError on an unknown task and on bins below 2."""

    def __init__(self, name: str, bins: int):
        if name not in DM_CONTROL:
            raise ValueError(f"Unknown task {name!r}; known tasks: {', '.join(sorted(DM_CONTROL))}.")
        if bins < 2:
            raise ValueError(f"bins must be at least 2, got {bins}.")
        self.task = DM_CONTROL[name]
        self.spec = self.task.spec(bins)
        self.num_features = self.task.num_features
        self._env = load_suite().load(*name.split("_"))
        self._values = np.linspace(-1.0, 1.0, bins)

    def reset(self, seed: int) -> np.ndarray:
        # dm_control reads its task's private random state at every reset; it offers no public way to reseed.
        self._env.task._random = np.random.RandomState(np.random.SeedSequence(seed).generate_state(4))
        return self._flatten(self._env.reset().observation)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        timestep = self._env.step(self._values[action])
        terminal = bool(timestep.last() and timestep.discount == 0.0)
        return self._flatten(timestep.observation), float(timestep.reward), terminal, timestep.last()

    @property
    def physics(self) -> Any:
        """dm_control's Physics of the task: its model, and the simulator's state."""
        return self._env.physics

    def place(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Puts the simulator in a state, positions and velocities of its joints; returns the observation, [S]."""
        with self.physics.reset_context():
            self.physics.data.qpos[:], self.physics.data.qvel[:] = qpos, qvel
        return self._flatten(self._env.task.get_observation(self.physics))

    def simulate(self, action: np.ndarray) -> float:
        """A control step of the simulator alone, for planners; returns its reward. No episode ends."""
        self.physics.set_control(self._values[action])
        self.physics.step(round(self.control_seconds / self.physics.timestep()))
        return float(self._env.task.get_reward(self.physics))

    @property
    def control_seconds(self) -> float:
        """Simulated seconds of a control step."""
        return self._env.control_timestep()

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """[height, width, 3] uint8; needs MUJOCO_GL=egl or osmesa before the first import."""
        try:
            return self.physics.render(height, width, camera_id=0)
        except (ImportError, RuntimeError, AttributeError) as error:
            raise RenderingError(f"Rendering failed with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}).") from error

    @staticmethod
    def _flatten(observation) -> np.ndarray:
        return np.concatenate([np.ravel(v) for v in observation.values()]).astype(np.float32)
