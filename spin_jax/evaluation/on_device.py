"""Plays a policy in an environment of pure functions: all episodes of all seeds in one compiled roll-out."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.envs.pure import PureEnv, advance, begin, seed_data
from spin_jax.evaluation.evaluator import Evaluator
from spin_jax.registry import PURE_ENVS


def make_roll_out(env: PureEnv, policy: Callable) -> Callable:
    """roll_out(data [B, 2], fixed, keys, step) -> [B] float32, the return of every episode, for jax.jit.

    data: the seed_data of each episode. policy, fixed = (state, frozen, normaliser), keys and step: as in batched_act.
    An episode that has ended waits for the others: it is stepped on, and its rewards no longer count.
    """

    def roll_out(data, fixed, keys, step):
        def body(carry):
            state, total, running, t = carry
            action = policy(*fixed, jax.vmap(env.observe)(state), keys, step, t)
            state, reward, _, last = jax.vmap(lambda s, a, d: advance(env, s, a, d, t))(state, action, data)
            return state, total + jnp.where(running, reward, 0), running & ~last, t + 1

        states = jax.vmap(lambda d: begin(env, d))(data)
        start = states, jnp.zeros(data.shape[0]), jnp.ones(data.shape[0], bool), 0
        return jax.lax.while_loop(lambda carry: carry[2].any(), body, start)[1]

    return roll_out


class OnDeviceEvaluator(Evaluator):
    """An Evaluator that never leaves the device; it has the same episodes, keys and returns, and no workers."""

    def _open(self, policy: Callable, num_workers: int):
        del num_workers
        self._data = self._place(np.stack([seed_data(seed) for seed in self._episode_seeds]))
        self._roll_out = jax.jit(make_roll_out(PURE_ENVS[self._task](self._task), policy))

    def _play(self, state, step: int) -> np.ndarray:
        fixed = state, self._frozen, self._normaliser
        return np.asarray(self._roll_out(self._data, fixed, self._keys, step), np.float64)

    def close(self) -> None:
        """Does nothing: there are no environments to close."""
