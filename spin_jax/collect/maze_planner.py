"""The behaviour of the mazes: a planner that knows the dynamics, by value iteration on a grid of positions.

Of the 2^N joint actions it tries those that switch on one run of neighbouring actuators: every longest sum in a
direction is one, and shorter runs are the same directions with less force. The value of a position is the expected
return from it, without a discount and without the time limit. Within a step it follows the small moves one after the
other, each with its noise, a wall that ends the step, and the goal. Between the grid's points it interpolates.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from spin_jax.collect.behaviour import Act, Behaviour, explore, uniform
from spin_jax.envs.maze import (
    GOAL_REWARD,
    MOVE,
    MOVES,
    NOISE_SHARE,
    STEP_REWARD,
    UNIT,
    in_goal,
    in_units,
    is_free,
    pulls,
)
from spin_jax.envs.tasks import TASKS

CELLS = 100  # of the grid along each axis: less than a wall's width each
NOISE_POINTS = 4  # along each axis, that stand for the noise of a small move
CLOSE = 1e-3  # value iteration ends when no value changes by more
MEDIUM_SHARE = 0.1  # of the planner's joint actions in level medium; the others are uniform


class Plan(NamedTuple):
    """actions [A, N]: the joint actions tried; values [P]: the expected return from every free point of the grid."""

    actions: np.ndarray
    values: np.ndarray

    def best(self, observation: np.ndarray) -> np.ndarray:
        """[B, N]: the joint action after which the value is highest, if no noise comes, in positions [B, 2]."""
        position, moves = in_units(observation)[:, None, :], (self.actions @ pulls(self.actions.shape[1]))[None]
        position = np.repeat(position, len(self.actions), axis=1)
        going = np.ones(position.shape[:2], bool)
        for _ in range(MOVES):
            going &= is_free(position + moves)
            position = np.where(going[..., None], position + moves, position)
            going &= ~in_goal(position)
        value = np.where(
            in_goal(position), GOAL_REWARD, self.value(position.reshape(-1, 2) / UNIT).reshape(going.shape)
        )
        return self.actions[value.argmax(-1)]

    def value(self, observation: np.ndarray) -> np.ndarray:
        """[B]: the expected return from positions [B, 2]."""
        return _interpolation(observation) @ self.values


def neighbouring(num_actuators: int) -> np.ndarray:
    """[A, N]: the joint actions that switch on one run of neighbours, none or all; one for each different sum."""
    n = num_actuators
    runs = [np.roll(np.arange(n) < length, start) for length in range(1, n) for start in range(n)]
    actions = np.array([np.zeros(n), *runs], int)
    _, first = np.unique(np.round(actions @ pulls(n) / 8), axis=0, return_index=True)  # equal but for rounding
    return actions[np.sort(first)]


@functools.cache
def _grid():
    """(points [P, 2] in units, index of each in the list of free ones or -1 [CELLS + 1, CELLS + 1])."""
    axis = np.arange(CELLS + 1) / CELLS
    points = in_units(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1))
    free = is_free(points)
    return points[free], np.where(free, np.cumsum(free).reshape(free.shape) - 1, -1)


def _interpolation(position):
    """[B, P] sparse: bilinear weights of the free points around positions [B, 2] in [0, 1]."""
    points, index = _grid()
    cell = np.clip((position * CELLS).astype(int), 0, CELLS - 1)
    within = position * CELLS - cell
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    weight = np.where(corners[None], within[:, None], 1 - within[:, None]).prod(-1)  # [B, 4]
    at = index[tuple((cell[:, None] + corners[None]).transpose(2, 0, 1))]
    weight = np.where(at >= 0, weight, 0)
    weight = weight / np.maximum(weight.sum(-1, keepdims=True), 1e-9)
    rows = np.arange(len(position) + 1) * 4
    return csr_array((weight.ravel(), np.maximum(at, 0).ravel(), rows), shape=(len(position), len(points)))


def _small_move(move):
    """(where [P, P], goal [P], stopped [P]) of a small move [2] from every point: shares that sum to 1."""
    points = _grid()[0]
    following = points + move
    free, goal = is_free(following), in_goal(following)
    inside = np.clip(following / UNIT, 0, 1)
    return _interpolation(inside) * (free & ~goal)[:, None], goal * 1.0, ~free * 1.0


def make_plan(actions: np.ndarray) -> Plan:
    """Value iteration over joint actions [A, N]."""
    wanted = [_small_move(move) for move in actions @ pulls(actions.shape[1])]
    middles = (np.arange(NOISE_POINTS) + 0.5) / NOISE_POINTS * MOVE / np.sqrt(2)
    astray = [_small_move(in_units((x, y))) for x in middles for y in middles]
    noise = [sum(parts[1:], parts[0]) / len(parts) for parts in zip(*astray, strict=True)]
    mixed = [
        tuple((1 - NOISE_SHARE) * own + NOISE_SHARE * other for own, other in zip(move, noise, strict=True))
        for move in wanted
    ]
    in_the_goal = in_goal(_grid()[0])
    value, change = np.where(in_the_goal, GOAL_REWARD, 0.0), np.inf
    while change > CLOSE:
        better = np.max([_step_value(value, move) for move in mixed], axis=0)
        better = np.where(in_the_goal, GOAL_REWARD, better)
        value, change = better, np.abs(better - value).max()
    return Plan(actions, value)


def _step_value(value, small_move):
    """[P]: the expected return of a step of MOVES small moves, `value` after it."""
    where, goal, stopped = small_move
    following = value
    for _ in range(MOVES):
        following = where @ following + goal * GOAL_REWARD + stopped * value
    return STEP_REWARD + following


@functools.cache
def plan_of(num_actuators: int) -> Plan:
    """The plan of a size."""
    return make_plan(neighbouring(num_actuators))


def maze_behaviour(task: str, bins: int, level: str, epsilon: float, rng: np.random.Generator) -> Act:
    """expert: the planner; medium: the planner in a share of the steps, else uniform; epsilon as everywhere."""
    del bins
    num_slots = TASKS[task].num_slots
    chance = uniform(rng, 2, num_slots)
    if level == "random":
        return chance
    best = plan_of(num_slots).best

    def medium(observation):
        planned = rng.random((len(observation), 1)) < MEDIUM_SHARE
        return np.where(planned, best(observation), chance(observation))

    return explore(best if level == "expert" else medium, epsilon, rng, 2)


def planner_card(task: str, bins: int, level: str) -> dict:
    """What the card of a level's log says of its policy."""
    names = {
        "random": "random: uniform over joint actions",
        "medium": f"planner in {MEDIUM_SHARE:.0%} of the steps, else uniform over joint actions",
        "expert": "planner: value iteration on a grid of positions",
    }
    return {"policy": names[level]}


MAZE_PLANNER = Behaviour(maze_behaviour, planner_card)
