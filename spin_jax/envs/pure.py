"""Environments as pure functions of JAX arrays: they run inside compiled programs, or behind the Env protocol."""

import functools
import multiprocessing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from spin_jax.types import ActionSpec

HIGH, LOW = 32, 2**32 - 1


class PureEnv(NamedTuple):
    """One environment as functions for jax.jit and jax.vmap; a state is a tree of arrays.

    reset(key) -> state. step(state, action [N], key) -> (state, reward, terminal, last), as in envs.base.Env.
    observe(state) -> [S] float32. A step after `last` has no meaning.
    """

    spec: ActionSpec
    num_features: int  # S
    reset: Callable[[jax.Array], Any]
    step: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array, jax.Array, jax.Array]]
    observe: Callable[[Any], jax.Array]


def seed_data(seed: int) -> np.ndarray:
    """[2] uint32: all 64 bits of an episode's seed."""
    return np.array([seed >> HIGH & LOW, seed & LOW], np.uint32)


def begin(env: PureEnv, data: jax.Array) -> Any:
    """The first state of the episode with this seed_data."""
    return env.reset(jax.random.fold_in(_key(data), 0))


def advance(
    env: PureEnv, state: Any, action: jax.Array, data: jax.Array, t: jax.Array | int
) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    """env.step number t (from 0) of the episode with this seed_data."""
    return env.step(state, action, jax.random.fold_in(_key(data), t + 1))


def _key(data):
    return jax.random.wrap_key_data(data, impl="threefry2x32")


@functools.cache
def _compiled(env):
    """(begin, advance) of one environment, compiled; they return the observation, too."""

    def first(data):
        state = begin(env, data)
        return state, env.observe(state)

    def following(state, action, data, t):
        state, *ending = advance(env, state, action, data, t)
        return state, (env.observe(state), *ending)

    return jax.jit(first), jax.jit(following)


class HostEnv:
    """A PureEnv behind the Env protocol, on the CPU: the same episodes, one step a call."""

    def __init__(self, env: PureEnv):
        if multiprocessing.parent_process() is not None:
            jax.config.update("jax_platforms", "cpu")  # a worker process leaves the accelerator to its parent
        self.spec, self.num_features = env.spec, env.num_features
        self._first, self._following = _compiled(env)
        self._cpu = jax.devices("cpu")[0]

    def reset(self, seed: int) -> np.ndarray:
        self._data, self._t = jax.device_put(seed_data(seed), self._cpu), 0
        found = self._first(self._data)  # uncommitted where reset draws nothing; every step's state is committed
        self._state, observation = jax.device_put(found, self._cpu)
        return np.asarray(observation)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        action = np.asarray(action, np.int32)
        self._state, found = self._following(self._state, action, self._data, self._t)
        self._t += 1
        observation, reward, terminal, last = map(np.asarray, found)
        return observation, float(reward), bool(terminal), bool(last)

    @property
    def control_seconds(self) -> float:
        """A step stands for no time; pictures show ten steps a second."""
        return 0.1
