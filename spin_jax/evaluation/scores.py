"""Scores of returns: normalised scores, means and intervals, for one seed and for several."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import trim_mean

from spin_jax.envs.tasks import TASKS


class Score(NamedTuple):
    """Undiscounted returns of single episodes and their statistics."""

    returns: np.ndarray  # [episodes]
    mean: float
    std: float
    ci95: tuple[float, float]  # bootstrap interval of the mean
    normalised_mean: float | None  # None: nobody published reference returns of the task


def bootstrap_interval(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values`."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (resamples, len(values))).mean(-1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def score(returns: np.ndarray, task: str, bins: int) -> Score:
    """The Score of episode returns; normalised = (return - random) / (expert - random), published references."""
    references, mean = TASKS[task].reference_returns(bins), float(np.mean(returns))
    normalised = None if references is None else (mean - references[0]) / (references[1] - references[0])
    return Score(returns, mean, float(np.std(returns)), bootstrap_interval(returns), normalised)


def interquartile_mean(values: np.ndarray) -> float:
    """The mean of `values` without the lowest and the highest quarter; a quarter is rounded down to whole values."""
    return float(trim_mean(values, 0.25))


def stratified_interval(strata: Sequence[np.ndarray], seed: int = 0, resamples: int = 2_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the interquartile mean of all values (Agarwal et al. 2021).

    strata: the values of each task, one for each seed; a resample draws as many of each task as there are.
    """
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.choice(values, (resamples, len(values))) for values in strata], axis=1)
    low, high = np.percentile(trim_mean(drawn, 0.25, axis=1), [2.5, 97.5])
    return float(low), float(high)


def summary(found: Score) -> dict:
    """A score as a JSON-able dict."""
    return {
        "returns": found.returns.tolist(),
        "return_mean": found.mean,
        "return_std": found.std,
        "return_ci95": found.ci95,
        "normalised_mean": found.normalised_mean,
    }


def aggregate_seeds(run_seeds: Sequence[int], scores: Sequence[Score], task: str, bins: int) -> dict:
    """The scores of several seeds as one JSON-able dict; statistics are over the seeds' means, one value per seed.

    return_iqm: interquartile mean of those means, with a 95 % bootstrap interval over seeds (Agarwal et al. 2021).
    """
    means = np.array([found.mean for found in scores])
    return summary(score(means, task, bins)) | {
        "returns": [value for found in scores for value in found.returns.tolist()],
        "return_iqm": interquartile_mean(means),
        "return_iqm_ci95": stratified_interval([means]),
        "seeds": {str(seed): summary(found) for seed, found in zip(run_seeds, scores, strict=True)},
    }
