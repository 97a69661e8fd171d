"""Scores of returns: normalised scores, means and intervals, for one seed and for several."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spin_jax.envs.tasks import TASKS

MOST_RESAMPLED = 10_000  # values of which a mean's interval is still resampled


class Score(NamedTuple):
    """Undiscounted returns of single episodes and their statistics."""

    returns: np.ndarray  # [episodes]
    mean: float
    std: float
    ci95: tuple[float, float]  # bootstrap interval of the mean
    normalised_mean: float | None  # None: nobody published reference returns of the task


def bootstrap_interval(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values`.

    Of more than MOST_RESAMPLED values it is the normal one, mean +- 1.96 standard errors, from which resampling so many
    would not differ.
    """
    if len(values) > MOST_RESAMPLED:
        mean, half = float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5
        return mean - half, mean + half
    rng = np.random.default_rng(seed)
    means = np.concatenate([rng.choice(values, (rows, len(values))).mean(-1) for rows in _blocks(resamples, values)])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _blocks(resamples: int, values: np.ndarray) -> list[int]:
    """Numbers of resamples that are drawn at once, so that a block takes some 10 MB; they change no draw."""
    rows = max(1_000_000 // len(values), 1)
    return [min(rows, resamples - begin) for begin in range(0, resamples, rows)]


def score(returns: np.ndarray, task: str, bins: int) -> Score:
    """The Score of episode returns; normalised = (return - random) / (expert - random), published references."""
    references, mean = TASKS[task].reference_returns(bins), float(np.mean(returns))
    normalised = None if references is None else (mean - references[0]) / (references[1] - references[0])
    return Score(returns, mean, float(np.std(returns)), bootstrap_interval(returns), normalised)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean along the last axis without the lowest and the highest quarter, which is rounded down to whole values.

    scipy.stats.trim_mean is the same, but to import it takes a third of the time in which a run starts.
    """
    cut = values.shape[-1] // 4
    return np.sort(values)[..., cut : values.shape[-1] - cut].mean(-1)


def stratified_interval(strata: Sequence[np.ndarray], seed: int = 0, resamples: int = 2_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the interquartile mean of all values (Agarwal et al. 2021).

    strata: the values of each task, one for each seed; a resample draws as many of each task as there are.
    """
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.choice(values, (resamples, len(values))) for values in strata], axis=1)
    low, high = np.percentile(interquartile_mean(drawn), [2.5, 97.5])
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
        "return_iqm": float(interquartile_mean(means)),
        "return_iqm_ci95": stratified_interval([means]),
        "seeds": {str(seed): summary(found) for seed, found in zip(run_seeds, scores, strict=True)},
    }
