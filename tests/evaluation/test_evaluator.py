"""Scores against hand-made numbers, and evaluation against playing one episode after another."""

import jax
import numpy as np
import pytest
from scipy.stats import trim_mean

from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.tasks import TASKS
from spin_jax.evaluation.evaluator import Evaluator, evaluation_seed
from spin_jax.evaluation.scores import aggregate_seeds, bootstrap_interval, interquartile_mean, score
from spin_jax.training.seeds import ONE, Seeds
from spin_jax.types import Episode, identity_normaliser


def test_score_is_normalised_by_the_published_references():
    low, high = TASKS["cheetah_run"].reference_returns(3)
    assert (low, high) == (5.39, 664.57)
    found = score(np.array([low, high]), "cheetah_run", 3)
    assert found.normalised_mean == pytest.approx(0.5)
    assert found.mean == pytest.approx((low + high) / 2)
    assert found.std == pytest.approx((high - low) / 2)


def test_bins_without_a_published_expert_use_the_three_bin_one():
    assert TASKS["cheetah_run"].reference_returns(7) == TASKS["cheetah_run"].reference_returns(3)
    assert TASKS["dog_trot"].reference_returns(30)[1] == 768.24


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


def evaluator(run_seeds, episodes, greedy, num_workers=0, seeds=ONE):
    return Evaluator(
        _act, (), identity_normaliser(17), "cheetah_run", 3,
        run_seeds=run_seeds, episodes=episodes, greedy=greedy, num_workers=num_workers, seeds=seeds,
    )  # fmt: skip


@pytest.mark.slow
def test_batched_greedy_evaluation_equals_one_episode_after_another():
    with evaluator([5], 2, greedy=True) as evaluate:
        (batched,) = evaluate(0, 7.0)
    for i, found in enumerate(batched.returns):
        env = DMControlEnv("cheetah_run", 3)
        observation, total, last = env.reset(evaluation_seed(5, i)), 0.0, False
        while not last:
            action = np.asarray(_act(7.0, (), observation[None], None))[0]
            observation, reward, _, last = env.step(action)
            total += reward
        assert found == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
def test_sampled_evaluation_repeats_exactly_and_ignores_the_number_of_workers():
    found = []
    for workers in (0, 2):
        with evaluator([1], 3, greedy=False, num_workers=workers) as evaluate:
            found += [evaluate(4, 7.0)[0].returns for _ in range(2)]
    assert all(np.array_equal(found[0], other) for other in found[1:])
    assert len(set(found[0])) == 3


@pytest.mark.slow
def test_seeds_that_are_evaluated_together_get_what_each_gets_alone():
    seeds = Seeds(2)
    with evaluator([3, 8], 2, greedy=False, seeds=seeds) as evaluate:
        both = evaluate(4, seeds.bundle([jax.numpy.float32(7), jax.numpy.float32(3)]))
    for seed, state, found in ((3, 7.0, both[0]), (8, 3.0, both[1])):
        with evaluator([seed], 2, greedy=False) as evaluate:
            np.testing.assert_allclose(evaluate(4, state)[0].returns, found.returns, rtol=1e-5)


def test_sampling_is_fresh_in_every_control_step_and_at_every_gradient_step(monkeypatch):
    drawn = []

    def play(envs, policy, seeds):
        del envs, seeds
        drawn.extend(np.asarray(policy(np.zeros((4, 17), np.float32), t)).tobytes() for t in range(5))
        return [Episode(np.zeros((2, 17)), np.zeros((1, 6)), np.zeros(1), False)] * 4

    monkeypatch.setattr("spin_jax.evaluation.evaluator.play_episodes", play)
    with evaluator([1], 4, greedy=False) as evaluate:
        for step in (0, 10, 0):
            evaluate(step, 7.0)
    assert len(set(drawn)) == 10
    assert drawn[10:] == drawn[:5]


def test_the_interval_of_many_values_is_the_one_that_resampling_gives():
    """Beyond 10 000 values nothing is resampled; the interval goes on smoothly there."""
    values = np.random.default_rng(1).exponential(size=10_001)
    np.testing.assert_allclose(bootstrap_interval(values), bootstrap_interval(values[:-1]), atol=1e-3)
    low, high = bootstrap_interval(np.zeros(10**6))
    assert low == high == 0


def test_several_seeds_are_summed_up_by_their_means():
    """The interquartile mean of 8 seeds leaves out the two lowest and the two highest."""
    values = np.array([0.0, 900, 300, 310, 320, 330, 1000, 10])
    scores = [score(np.array([v - 5, v + 5]), "cheetah_run", 3) for v in values]
    found = aggregate_seeds(range(8), scores, "cheetah_run", 3)
    assert found["return_iqm"] == pytest.approx(315.0)
    assert found["return_mean"] == pytest.approx(values.mean())
    assert found["return_iqm_ci95"][0] < 315 < found["return_iqm_ci95"][1]
    assert len(found["returns"]) == 16
    assert list(found["seeds"]) == [str(i) for i in range(8)]
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == pytest.approx(3.0)  # of three, nothing is a quarter
    for count in range(1, 12):
        rows = np.random.default_rng(count).normal(size=(3, count))
        np.testing.assert_allclose(interquartile_mean(rows), trim_mean(rows, 0.25, axis=1), rtol=1e-12)
