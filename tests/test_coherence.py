"""Product policies mix the modes of a log, joint ones play them: every policy, trained by the real learners and loop.

The oracle is the closed form of spin_jax/envs/one_step.py: the best product's exact-match rate and log-likelihood.
"""

import dataclasses

import jax
import numpy as np
import pytest

from benchmarks.coherence import JOINT, PRODUCTS, STATES, choose_by_critics, compare
from spin_jax.envs.one_step import make_one_step

TASK = make_one_step(0)
BEST = TASK.product_match_rate()
OPTIMUM = 1.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared():
    """(name -> figures, the ASM's parameters), trained with XLA's optimisations: here steps count, not compilation."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield compare(TASK)
    jax.config.update("jax_disable_most_optimizations", True)  # as tests/conftest.py has it


def test_the_best_product_is_far_from_the_optimum():
    assert 5 * BEST < 0.9 * OPTIMUM


@pytest.mark.parametrize("name", sorted(PRODUCTS))
def test_a_product_policy_comes_to_the_best_product_and_no_further(compared, name):
    """Within 10 % of its exact-match rate; in likelihood, where no product at all can pass it, from below."""
    found = compared[0][name]["coupled"]
    assert found["exact_match"] == pytest.approx(BEST, rel=0.1)
    assert TASK.product_log_likelihood() - 0.05 < found["log_likelihood"] <= TASK.product_log_likelihood() + 1e-5


@pytest.mark.parametrize("name", sorted(JOINT))
def test_a_joint_policy_plays_the_modes(compared, name):
    found = compared[0][name]["coupled"]
    assert found["exact_match"] >= 0.9 * OPTIMUM
    assert found["exact_match"] >= 5 * BEST
    assert np.log(1 / 3) - 0.1 < found["log_likelihood"] <= np.log(1 / 3)


@pytest.mark.parametrize("name", sorted(PRODUCTS | JOINT))
def test_where_slots_are_independent_all_policies_agree(compared, name):
    """Within 10 % of the rate that the log itself has there: the noise of fitting one log."""
    assert compared[0][name]["independent"]["exact_match"] == pytest.approx(BEST, rel=0.1)


@pytest.mark.parametrize("name", sorted(PRODUCTS | JOINT))
def test_what_is_played_matches_as_often_as_computed(compared, name):
    """One draw a state, within 4 sigma of the exact probability."""
    for found in compared[0][name].values():
        sigma = np.sqrt(found["exact_match"] * (1 - found["exact_match"]) / (STATES / 2))
        assert abs(found["played"] - found["exact_match"]) < 4 * sigma


def test_critics_find_the_mode_that_pays_most_among_coherent_draws(compared):
    """In coupled states the log earns 2/3 a step and its best mode 1."""
    task = dataclasses.replace(TASK, values=np.array([1.0, 0.5, 0.5]))
    assert choose_by_critics(task, compared[1]) >= 0.9 * OPTIMUM
