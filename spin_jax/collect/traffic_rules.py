"""The behaviour policies of task `traffic`: rules that read the observation (envs.traffic.View) and nothing else."""

from collections.abc import Callable

import numpy as np

from spin_jax.collect.behaviour import Act, Behaviour, explore, uniform
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.traffic import AGE_SECONDS, View, view
from spin_jax.types import ActionSpec

GREEN_SECONDS = 20  # of every phase, fixed_time


def fixed_time(parts: View, spec: ActionSpec) -> np.ndarray:
    """[B, N]: each signal goes through its phases in turn, GREEN_SECONDS (with yellow) each."""
    now = parts.phase.argmax(-1)
    due = np.round(parts.age * AGE_SECONDS) >= GREEN_SECONDS
    return np.where(due, (now + 1) % np.array(spec.cardinalities)[None, :], now)


def longest_queue(parts: View, spec: ActionSpec) -> np.ndarray:
    """[B, N]: the phase that lets most standing vehicles go; the present one if no other has more."""
    return _highest(parts.waiting, parts)


def pressure(parts: View, spec: ActionSpec) -> np.ndarray:
    """[B, N]: as longest_queue, less the vehicles that stand on the lanes ahead.

    In the manner of max pressure (Varaiya, Transportation Research Part C, 2013).
    """
    return _highest(parts.waiting - np.where(spec.valid[None], parts.ahead, 0.0), parts)


def _highest(value, parts):
    now = parts.phase.argmax(-1)
    stays = np.take_along_axis(value, now[..., None], axis=-1)[..., 0] >= value.max(-1)
    return np.where(stays, now, value.argmax(-1))


RULES: dict[str, Callable[[View, ActionSpec], np.ndarray]] = {
    "fixed_time": fixed_time,
    "pressure": pressure,
    "longest_queue": longest_queue,
}


def traffic_behaviour(task: str, bins: int, level: str, epsilon: float, rng: np.random.Generator) -> Act:
    """The rule of a level; each sub-action is replaced by a uniform choice with probability epsilon."""
    spec = TASKS[task].spec(bins)
    choices = np.array(spec.cardinalities)
    if level == "random":
        return uniform(rng, choices, spec.num_slots)
    return explore(lambda observation: RULES[level](view(observation, spec), spec), epsilon, rng, choices)


def rule_card(task: str, bins: int, level: str) -> dict:
    """What the card of a level's log says of its policy."""
    return {"policy": f"rule {level}" if level in RULES else "random: uniform over joint actions"}


TRAFFIC_RULES = Behaviour(traffic_behaviour, rule_card)
