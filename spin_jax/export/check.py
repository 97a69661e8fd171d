"""Compares an exported policy with the policy that it was made from, before anybody relies on it."""

import numpy as np

from spin_jax.errors import ExportError
from spin_jax.export.api import TrainedPolicy
from spin_jax.record.progress import watched

LOGIT_TIE = 1e-3  # change of the noise, and so of logits, within which two choices count as equally good
OBSERVATION_TIE = 1e-5  # the same of observations, relative
TRIES = 16  # random changes of these sizes
PROBABILITY_TOLERANCE = 0.01  # the noise of 1000 sampled rows finds smaller differences
ROWS = 250  # rows at once


def check(exported: TrainedPolicy, original: TrainedPolicy, rows: np.ndarray) -> dict[str, int]:
    """Raises ExportError if the two differ on the raw observations `rows` [R, S]; returns the number of rows and ties.

    Compared are greedy actions, sampled actions with the same noise, and exact probabilities.
    Sums in another order differ in their last digits, and a deep network in float32 answers with an error of up to
    1e-3 in its logits. So two choices that are all but equally good may change places. A row in which actions differ
    counts as a tie if the original changes its own action when each noise number changes by LOGIT_TIE and each feature
    by OBSERVATION_TIE, up or down at random, in one of TRIES tries. Other differences are refused.
    """
    ties = 0
    for start in watched(range(0, len(rows), ROWS), "export: comparing with the policy", "part"):
        part = rows[start : start + ROWS]
        for greedy in (True, False):
            noise = original.noise(len(part), greedy, start)
            expected, found = original.play(part, noise), exported.play(part, noise)
            different = np.flatnonzero((expected != found).any(1))
            ties += len(different)
            for row in different[~_are_ties(original, part[different], noise[different], expected[different])]:
                raise ExportError(
                    f"The export is not the policy: in row {start + row} it plays {found[row].tolist()} in place of "
                    f"{expected[row].tolist()} ({'greedily' if greedy else 'sampled'}; {len(different)} of {len(part)} "
                    f"rows differ). Nothing was written."
                )
        if not original.header["exact_probabilities"]:
            continue
        worst = float(np.abs(original.probabilities(part) - exported.probabilities(part)).max())
        if not worst <= PROBABILITY_TOLERANCE:
            raise ExportError(
                f"The export is not the policy: a probability differs by {worst:.2g}. Nothing was written."
            )
    return {"rows": len(rows), "ties": ties}


def _are_ties(original: TrainedPolicy, rows: np.ndarray, noise: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """[B] bool: whether a small change of its input changes the action of a row."""
    rng, changed = np.random.default_rng(0), np.zeros(len(rows), bool)
    signs = np.array([-1, 1], np.float32)
    for _ in range(TRIES if len(rows) else 0):
        nearby = rows * (1 + OBSERVATION_TIE * rng.choice(signs, rows.shape))
        changed |= (original.play(nearby, noise + LOGIT_TIE * rng.choice(signs, noise.shape)) != actions).any(1)
    return changed
