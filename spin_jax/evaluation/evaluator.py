"""Plays a policy in its environment: all episodes of all seeds at once, with one batched policy call per step."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.evaluation.scores import Score, score
from spin_jax.registry import ENVS
from spin_jax.training.keys import action_key, number, stream
from spin_jax.training.seeds import ONE, Seeds
from spin_jax.types import Normaliser, normalise


def evaluation_seed(seed: int, index: int) -> int:
    """The seed of episode `index`, the same in every evaluation of the run with seed `seed`."""
    return episode_seed(seed, number("evaluate/episodes"), index)


def batched_act(act: Callable, seeds: Seeds, greedy: bool) -> Callable:
    """policy(state, frozen, normaliser, observation, keys, step, t) -> actions [B, N] of all episodes of all seeds.

    observation [B, S]: the episodes of the first seed, then those of the next, …; state, frozen and keys are bundled.
    """
    axes = (0, 0 if seeds.own_frozen else None, None, 0, 0, None, None)

    def one(state, frozen, normaliser, observation, key, step, t):
        key = None if greedy else action_key(key, step, t)
        return act(state, frozen, normalise(normaliser, observation), key)

    def policy(state, frozen, normaliser, observation, keys, step, t):
        if seeds.num == 1:
            return one(state, frozen, normaliser, observation, keys, step, t)
        observation = observation.reshape(seeds.num, -1, observation.shape[-1])
        action = jax.vmap(one, axes)(state, frozen, normaliser, observation, keys, step, t)
        return action.reshape(-1, action.shape[-1])

    return policy


class Evaluator:
    """Plays `episodes` episodes for each seed, all at once; the environments are kept until `close`.

    Episode i of every evaluation starts from evaluation_seed(run seed, i). If greedy is False, actions are sampled with
    a key that follows from the run's seed, the gradient step and the control step. Results depend neither on
    num_workers nor on the other seeds.

    frozen, and the states that calls take, are bundled by `seeds`. device: where the policy computes; None is JAX's
    default device.
    """

    def __init__(
        self,
        act: Callable,
        frozen: Any,
        normaliser: Normaliser,
        task: str,
        bins: int,
        *,
        run_seeds: Sequence[int],
        episodes: int,
        greedy: bool,
        num_workers: int,
        seeds: Seeds = ONE,
        device: jax.Device | None = None,
    ):
        self._task, self._bins, self._num, self._device = task, bins, len(run_seeds), device
        self._episode_seeds = [evaluation_seed(seed, i) for seed in run_seeds for i in range(episodes)]
        keys = seeds.bundle([stream(seed, "evaluate/actions") for seed in run_seeds])
        self._frozen, self._normaliser, self._keys = self._place((frozen, normaliser, keys))
        self._open(batched_act(act, seeds, greedy), num_workers)

    def _open(self, policy: Callable, num_workers: int):
        self._policy = jax.jit(policy)
        self._envs = VectorEnv(self._task, self._bins, len(self._episode_seeds), num_workers, ENVS[self._task])

    def _place(self, tree):
        return tree if self._device is None else jax.device_put(tree, self._device)

    def __call__(self, step: int, state) -> list[Score]:
        """The score of each seed; `state` is bundled and has taken `step` gradient steps."""
        returns = self._play(self._place(state), step).reshape(self._num, -1)
        return [score(row, self._task, self._bins) for row in returns]

    def _play(self, state, step: int) -> np.ndarray:
        """The return of every episode."""

        def act(observation, t):
            return self._policy(state, self._frozen, self._normaliser, observation, self._keys, step, t)

        return np.array([e.reward.sum() for e in play_episodes(self._envs, act, self._episode_seeds)])

    def close(self) -> None:
        self._envs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
