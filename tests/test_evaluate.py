"""Scores against hand-made numbers, and evaluation against playing one episode after another."""

import jax
import numpy as np
import pytest

from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.vector import episode_seed
from spin_jax.evaluate import Evaluator, bootstrap_interval, reference_returns, score
from spin_jax.types import identity_normaliser


def test_score_is_normalised_by_the_published_references():
    low, high = reference_returns("cheetah_run", 3)
    assert (low, high) == (5.39, 664.57)
    found = score(np.array([low, high]), "cheetah_run", 3)
    assert found.normalised_mean == pytest.approx(0.5)
    assert found.mean == pytest.approx((low + high) / 2)
    assert found.std == pytest.approx((high - low) / 2)


def test_bins_without_a_published_expert_use_the_three_bin_one():
    assert reference_returns("cheetah_run", 7) == reference_returns("cheetah_run", 3)
    assert reference_returns("dog_trot", 30)[1] == 768.24


def test_bootstrap_interval_has_the_width_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(100.0, 10.0, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20  # closed form for a mean of 400
    assert low == pytest.approx(values.mean() - half, abs=0.15)
    assert high == pytest.approx(values.mean() + half, abs=0.15)


def _act(state, frozen, observation, key):
    """A policy that depends on the observation, so that mixed-up rows would show."""
    del frozen
    action = (jax.numpy.abs(observation[:, :6]) * state).astype(jax.numpy.int32) % 3
    return action if key is None else jax.random.randint(key, action.shape, 0, 3)


@pytest.mark.slow
def test_batched_greedy_evaluation_equals_one_episode_after_another():
    normaliser = identity_normaliser(17)
    with Evaluator(_act, "cheetah_run", 3, episodes=2, greedy=True, seed=5, num_workers=0) as evaluator:
        batched = evaluator(0, 7.0, (), normaliser)
    for i, found in enumerate(batched.returns):
        env = DMControlEnv("cheetah_run", 3)
        observation, total, last = env.reset(episode_seed(5, i)), 0.0, False
        while not last:
            action = np.asarray(_act(7.0, (), observation[None], None))[0]
            observation, reward, _, last = env.step(action)
            total += reward
        assert found == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
def test_sampled_evaluation_repeats_exactly_and_ignores_the_number_of_workers():
    found = []
    for workers in (0, 2):
        with Evaluator(_act, "cheetah_run", 3, episodes=3, greedy=False, seed=1, num_workers=workers) as evaluator:
            found += [evaluator(4, 7.0, (), identity_normaliser(17)).returns for _ in range(2)]
    assert all(np.array_equal(found[0], other) for other in found[1:])
    assert len(set(found[0])) == 3
