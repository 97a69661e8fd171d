"""Compares an exported policy with the policy that it was made from, before anybody relies on it."""

import numpy as np

from spin_jax.errors import ExportError
from spin_jax.export.api import TrainedPolicy

TIE = 1e-5  # relative change of observations, and change of noise, within which two actions count as equally good
TRIES = 16  # random changes of that size
PROBABILITY_TOLERANCE = 1e-4
ROWS = 250  # rows at once


def check(exported: TrainedPolicy, original: TrainedPolicy, rows: np.ndarray) -> dict[str, int]:
    """Raises ExportError if the two differ on the raw observations `rows` [R, S]; returns the number of rows and ties.

    Compared are greedy actions, sampled actions with the same noise, and exact probabilities (to
    PROBABILITY_TOLERANCE).
    Sums in another order differ in their last digits, so two choices that are all but equally good may change places.
    A row in which actions differ counts as a tie if the original changes its own action when its input is changed by
    TIE: each feature and each noise number, up or down at random, in one of TRIES tries. Other differences are refused.
    """
    ties = 0
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        for greedy in (True, False):
            noise = original.noise(len(part), greedy, start)
            expected, found = original.play(part, noise), exported.play(part, noise)
            different = (expected != found).any(1)
            refused = different & ~_is_tie(original, part, noise, expected) if different.any() else different
            ties += int(different.sum())
            if refused.any():
                row = int(np.argmax(refused))
                raise ExportError(
                    f"The export is not the policy: in row {start + row} it plays {found[row].tolist()} in place of "
                    f"{expected[row].tolist()} ({'greedily' if greedy else 'sampled'}; {int(refused.sum())} of "
                    f"{len(part)} rows differ). Nothing was written."
                )
        if not original.header["exact_probabilities"]:
            continue
        worst = float(np.abs(original.probabilities(part) - exported.probabilities(part)).max())
        if not worst <= PROBABILITY_TOLERANCE:
            raise ExportError(
                f"The export is not the policy: a probability differs by {worst:.2g}. Nothing was written."
            )
    return {"rows": len(rows), "ties": ties}


def _is_tie(original: TrainedPolicy, rows: np.ndarray, noise: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """[B] bool: whether a change of TIE in its input changes the action of a row."""
    rng, changed = np.random.default_rng(0), np.zeros(len(rows), bool)
    for _ in range(TRIES):
        signs = [rng.choice(np.array([-TIE, TIE], np.float32), x.shape) for x in (rows, noise)]
        changed |= (original.play(rows * (1 + signs[0]), noise + signs[1]) != actions).any(1)
    return changed
