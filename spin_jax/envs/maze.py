"""A maze with N actuators: each slot switches an actuator on or off, and only their sum moves the point.

The problem of Chandak et al. (Learning Action Representations for Reinforcement Learning, ICML 2019), in the sizes of
the published experiments (3, 5, 7, 10, 12 and 15 actuators; here 3 to 15). A point in the unit square starts at START;
it must go around two walls to the goal. The actuators are spread evenly around it: actuator i pulls in the direction
2 pi i / N. A joint action moves the point along the sum of those that are on, scaled so that the largest sum of any
joint action has length 1.

A step is MOVES small moves of MOVE times that. A small move into a wall or across the border is not made and ends the
step; one into the goal ends the episode. Only where it ends counts, so the corner of a wall may be cut. With
probability NOISE_SHARE a small move goes up and to the right instead, by a vector that is uniform in
[0, MOVE / sqrt 2]^2. Every step costs 0.05 and the goal pays 100. After 150 steps a time limit ends the episode. The
observation is the position (S = 2).

Positions are whole numbers of 1 / UNIT. So nothing is ever rounded: compiled or not, alone or in a batch, on every
device an episode is the same to the last bit.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from spin_jax.envs.pure import HostEnv, PureEnv
from spin_jax.envs.tasks import TASKS
from spin_jax.types import Array

UNIT = 2**20  # float32 holds every multiple of 1 / UNIT in the unit square exactly
START = (0.25, 0.1)
WALLS = (((0.0, 0.25), (0.5, 0.30)), ((0.5, 0.25), (0.55, 0.80)))  # (lowest corner, highest corner)
GOAL = ((0.25, 0.45), (0.30, 0.50))
MOVES, MOVE, NOISE_SHARE = 4, 0.045, 0.1  # small moves of a step; their length, less than a wall is wide
STEP_REWARD, GOAL_REWARD = -0.05, 100.0


class MazeState(NamedTuple):
    """position [2] int32, in units of 1 / UNIT; steps: those that were made."""

    position: jax.Array
    steps: jax.Array


def in_units(points: Any) -> np.ndarray:
    """Coordinates as whole numbers of 1 / UNIT, int32."""
    return np.round(np.asarray(points) * UNIT).astype(np.int32)


def pulls(num_actuators: int) -> np.ndarray:
    """[N, 2] int32: how far each actuator moves the point in a small move, in units of 1 / UNIT.

    The longest sum has the length of N/2 unit vectors next to each other, 1 / sin(pi/N), if N is even, and of (N + 1)/2
    of them, 1 / (2 sin(pi/2N)), if N is odd.
    """
    n = num_actuators
    angles = 2 * np.pi * np.arange(n) / n
    longest = 1 / math.sin(np.pi / n) if n % 2 == 0 else 1 / (2 * math.sin(np.pi / (2 * n)))
    return in_units(MOVE / longest * np.stack([np.cos(angles), np.sin(angles)], -1))


def _within(position, corners):
    low, high = (in_units(corner) for corner in corners)
    x, y = position[..., 0], position[..., 1]
    return (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])


def is_free(position: Array) -> Array:
    """[...] bool: position [..., 2], in units, lies on the board and in no wall."""
    first, second = WALLS
    return _within(position, ((0, 0), (1, 1))) & ~_within(position, first) & ~_within(position, second)


def in_goal(position: Array) -> Array:
    """[...] bool: position [..., 2], in units, lies in the goal."""
    return _within(position, GOAL)


@functools.cache
def make_maze(task: str) -> PureEnv:
    """The maze of a task, `maze_3` to `maze_15`."""
    facts = TASKS[task]
    pull, noise = pulls(facts.num_slots), int(MOVE / math.sqrt(2) * UNIT)

    def reset(key):
        del key  # every episode starts at the same place
        return MazeState(jnp.asarray(in_units(START)), jnp.int32(0))

    def step(state, action, key):
        wanted = (action[:, None].astype(jnp.int32) * pull).sum(0)
        bits = jax.random.bits(key, (MOVES, 3), jnp.uint32)
        astray = bits[:, 0] < np.uint32(NOISE_SHARE * 2**32)
        moves = jnp.where(astray[:, None], (bits[:, 1:] % noise).astype(jnp.int32), wanted[None, :])
        position, going = state.position, jnp.bool_(True)
        for move in moves:
            going &= is_free(position + move)
            position = jnp.where(going, position + move, position)
            going &= ~in_goal(position)
        terminal, steps = in_goal(position), state.steps + 1
        reward = jnp.where(terminal, STEP_REWARD + GOAL_REWARD, STEP_REWARD).astype(jnp.float32)
        return MazeState(position, steps), reward, terminal, terminal | (steps >= facts.episode_steps)

    def observe(state):
        return state.position.astype(jnp.float32) / UNIT

    return PureEnv(facts.spec(2), facts.num_features, reset, step, observe)


class MazeEnv(HostEnv):
    """The maze behind the Env protocol (envs.base.Env); `bins` has no meaning: an actuator is off (0) or on (1)."""

    def __init__(self, task: str, bins: int):
        super().__init__(make_maze(task))
        self._path: list[np.ndarray] = []

    def reset(self, seed: int) -> np.ndarray:
        observation = super().reset(seed)
        self._path = [observation]
        return observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        found = super().step(action)
        self._path.append(found[0])
        return found

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """Walls, the goal, the path so far and the point, [height, width, 3] uint8; y points up."""
        picture = Image.new("RGB", (width, height), "white")
        draw = ImageDraw.Draw(picture)

        def pixels(*points):
            return [(round(float(x) * (width - 1)), round((1 - float(y)) * (height - 1))) for x, y in points]

        def rectangle(corners, colour):
            (left, bottom), (right, top) = pixels(*corners)
            draw.rectangle((left, top, right, bottom), fill=colour)

        for wall in WALLS:
            rectangle(wall, "#57606a")
        rectangle(GOAL, "#2da44e")
        path = pixels(*self._path)
        draw.line(path, fill="#0969da", width=2)
        (x, y) = path[-1]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="#cf222e")
        return np.asarray(picture)
