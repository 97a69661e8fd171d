"""Playing a policy in its environment: all episodes at once, one batched policy call a step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from spin_jax.envs.dm_control import TASKS
from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.registry import ENVS
from spin_jax.types import Normaliser, normalise


class Score(NamedTuple):
    """Undiscounted returns of single episodes and what follows from them."""

    returns: np.ndarray  # [episodes]
    mean: float
    std: float
    ci95: tuple[float, float]  # bootstrap interval of the mean
    normalised_mean: float


def reference_returns(task: str, bins: int) -> tuple[float, float]:
    """(random, expert) returns of the published suite; the 3-bin expert where the suite has none for `bins`."""
    known = TASKS[task].expert_return
    return TASKS[task].random_return, known.get(bins, known[3])


def bootstrap_interval(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values`."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (resamples, len(values))).mean(-1)
    return tuple(float(v) for v in np.percentile(means, [2.5, 97.5]))


def score(returns: np.ndarray, task: str, bins: int) -> Score:
    """Normalised score = (return - random) / (expert - random) with the published references."""
    low, high = reference_returns(task, bins)
    mean = float(np.mean(returns))
    return Score(returns, mean, float(np.std(returns)), bootstrap_interval(returns), (mean - low) / (high - low))


class Evaluator:
    """Plays `episodes` episodes of a learner; the environments live as long as this object.

    Environment i of every evaluation starts from seed i of `seed`; where greedy is False, actions are sampled with a
    key that follows from `seed` and the gradient step. Results do not depend on num_workers.
    """

    def __init__(
        self, act: Callable, task: str, bins: int, *, episodes: int, greedy: bool, seed: int, num_workers: int
    ):
        self._task, self._bins, self._seeds = task, bins, [episode_seed(seed, i) for i in range(episodes)]
        self._key = jax.random.key(seed)
        self._envs = VectorEnv(task, bins, episodes, num_workers, ENVS[task])

        @jax.jit
        def policy(state, frozen, normaliser: Normaliser, observation, key, step):
            key = None if greedy else jax.random.fold_in(key, step)
            return act(state, frozen, normalise(normaliser, observation), key)

        self._policy = policy

    def __call__(self, step: int, state, frozen, normaliser: Normaliser) -> Score:
        key = jax.random.fold_in(self._key, step)
        episodes = play_episodes(
            self._envs, lambda observation, t: self._policy(state, frozen, normaliser, observation, key, t), self._seeds
        )
        return score(np.array([e.reward.sum() for e in episodes]), self._task, self._bins)

    def close(self):
        self._envs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
