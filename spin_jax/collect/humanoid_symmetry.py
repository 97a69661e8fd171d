"""Symmetries of humanoid-stand: every transition is also one of the mirrored and of the turned humanoid."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.collect.humanoid_lesson import HEAD_HEIGHT
from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.learners.decqn import NStep
from spin_jax.types import Array

LIMBS, VERTICAL, VELOCITY, ROOT, JOINTS = 22, 34, 37, 40, 46  # where features begin: positions of hands and feet, the
# torso's vertical, velocity of the centre of mass, velocity and rotation of the root, velocities of the joints


class Symmetry:
    """The same motion seen in a mirror and turned: positions and joint actions that are worth the same.

    A humanoid's left and right are alike, but for a left thigh that the model lets rise 10 degrees higher, and no
    direction differs from another one. Which joint mirrors which follows from the names and axes in the model.
    """

    def __init__(self, env: DMControlEnv):
        model = env.physics.model
        names = [model.id2name(joint, "joint") for joint in range(1, model.njnt)]
        joints = np.array([names.index(mirrored_name(name)) for name in names])
        # a rotation's axis is a pseudo-vector: in the mirror y -> -y its x and z change sign
        axis = model.jnt_axis[1:] * [-1, 1, -1]
        flip = np.sign((axis * model.jnt_axis[1:][joints]).sum(-1))
        actuators = [model.id2name(actuator, "actuator") for actuator in range(model.nu)]
        self._slots = np.array([actuators.index(mirrored_name(name)) for name in actuators])
        self._slot_flip = np.array([flip[names.index(name)] for name in actuators]) < 0
        self._last_choice = env.spec.num_choices - 1
        limbs = np.arange(LIMBS, VERTICAL).reshape(4, 3)[[2, 3, 0, 1]].ravel()  # hand, foot of the left, of the right
        others = np.arange(VERTICAL, JOINTS)
        self._features = np.concatenate([joints, [HEAD_HEIGHT], limbs, others, JOINTS + joints])
        root = [1, -1, 1, -1, 1, -1]  # velocity, rotation
        signs = [flip, [1], np.tile([1, -1, 1], 4), [1, -1, 1], [1, -1, 1], root, flip]
        self._signs = np.concatenate(signs).astype(np.float32)

    def mirrored_observation(self, observation: Array) -> Array:
        """Observations [B, S] of the mirrored humanoid."""
        return observation[:, self._features] * self._signs[None, :]

    def mirrored_action(self, action: Array) -> Array:
        """Joint actions [B, N] that move the mirrored humanoid as `action` moves the other one."""
        mirrored = action[:, self._slots]
        return jnp.where(self._slot_flip[None, :], self._last_choice - mirrored, mirrored)

    def __call__(self, batch: NStep, key: jax.Array) -> NStep:
        """The batch, every transition mirrored with probability 1/2 and turned by a random angle."""
        mirror_key, turn_key = jax.random.split(key)
        mirrored = jax.random.bernoulli(mirror_key, 0.5, (len(batch.reward), 1))
        angle = jax.random.uniform(turn_key, (len(batch.reward),), maxval=2 * math.pi)

        def moved(observation):
            return turned(jnp.where(mirrored, self.mirrored_observation(observation), observation), angle)

        return batch._replace(
            observation=moved(batch.observation),
            next_observation=moved(batch.next_observation),
            action=jnp.where(mirrored, self.mirrored_action(batch.action), batch.action),
        )


def mirrored_name(name: str) -> str:
    """left_knee for right_knee, and the other way round; other names stay."""
    side = {"left": "right", "right": "left"}.get(name.partition("_")[0])
    return f"{side}_{name.partition('_')[2]}" if side else name


def turned(observation: jax.Array, angle: jax.Array) -> jax.Array:
    """Observations [B, S] after a rotation about the vertical by `angle` [B], radians.

    The velocities of the centre of mass and of the root are the only features that have a direction in the world.
    """
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    for first in (VELOCITY, ROOT):
        x, y = observation[:, first], observation[:, first + 1]
        observation = observation.at[:, first].set(cos * x - sin * y).at[:, first + 1].set(sin * x + cos * y)
    return observation
