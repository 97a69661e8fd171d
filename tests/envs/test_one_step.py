"""The structured problem against enumeration of its whole joint space."""

import itertools

import numpy as np
import pytest

from spin_jax.envs.one_step import make_one_step

TASK = make_one_step(0, values=(1.0, 0.5, 0.25))
JOINT = np.array(list(itertools.product(*map(range, TASK.spec.cardinalities))))


def one_observation(cluster):
    return TASK.centres[cluster][None].astype(np.float32)


def test_modes_are_far_apart_and_the_same_in_either_half():
    for modes in TASK.modes:
        distances = [(a != b).sum() for a, b in itertools.combinations(modes, 2)]
        assert min(distances) >= 4
    np.testing.assert_array_equal(TASK.modes[TASK.coupled], TASK.modes[~TASK.coupled])
    assert len(np.unique(TASK.centres, axis=0)) == 4


def test_only_the_modes_of_a_states_own_cluster_pay_and_each_its_value():
    for cluster in range(4):
        reward = TASK.reward(np.repeat(one_observation(cluster), len(JOINT), 0), JOINT)
        paid = {tuple(a): r for a, r in zip(JOINT, reward, strict=True) if r}
        assert paid == {tuple(m): v for m, v in zip(TASK.modes[cluster], (1.0, 0.5, 0.25), strict=True)}


def test_noise_never_reaches_another_cluster():
    observation = TASK.observations(np.random.default_rng(0), 4_000)
    distance = np.abs(observation[:, None] - TASK.centres[None]).max(-1)
    np.testing.assert_array_equal(TASK.cluster(observation), distance.argmin(-1))
    np.testing.assert_array_equal(np.bincount(TASK.cluster(observation)), [1_000] * 4)


def test_log_plays_modes_where_coupled_and_the_product_of_their_marginals_elsewhere():
    """Frequencies of all joint actions within 4.5 sigma of 1/3 a mode and of the enumerated product."""
    log = TASK.log(np.random.default_rng(1), 40_000)
    np.testing.assert_array_equal(log.reward, TASK.reward(log.observation, log.action))
    assert (log.discount == 0).all()
    cluster = TASK.cluster(log.observation)
    for c in range(4):
        actions = log.action[cluster == c]
        if TASK.coupled[c]:
            expected = (JOINT[:, None] == TASK.modes[c]).all(-1).sum(-1) / 3
        else:
            expected = np.array([np.prod([(TASK.modes[c][:, i] == k).mean() for i, k in enumerate(a)]) for a in JOINT])
        found = (actions[:, None] == JOINT).all(-1).mean(0)
        assert (np.abs(found - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / len(actions))).all()


def test_best_product_rate_and_likelihood_equal_enumeration():
    """Every joint action's probability under the marginals, and the reward function, are the oracle."""
    rates, likelihoods = [], []
    for c, marginals in enumerate(TASK.marginals()):
        probability = np.prod([marginals[i, JOINT[:, i]] for i in range(TASK.spec.num_slots)], axis=0)
        assert probability.sum() == pytest.approx(1)
        pays = TASK.reward(np.repeat(one_observation(c), len(JOINT), 0), JOINT) > 0
        rates.append(probability[pays].sum())
        likelihoods.append(np.log(probability[pays]).mean())
    assert TASK.product_match_rate() == pytest.approx(np.mean(rates))
    assert TASK.product_log_likelihood() == pytest.approx(np.mean(likelihoods))


def test_no_other_product_makes_the_log_more_likely():
    """300 products: the marginals, and one mode alone, with from little to much noise added."""
    rng, modes, spec = np.random.default_rng(2), TASK.modes[0], TASK.spec

    def log_likelihood(p):
        return np.mean([np.log(p[np.arange(spec.num_slots), mode]).sum() for mode in modes])

    marginals, one_mode = TASK.marginals()[0], modes[0][:, None] == np.arange(spec.num_choices)
    best = log_likelihood(marginals)
    for i in range(300):
        p = (marginals, one_mode)[i % 2] + np.where(spec.valid, 10.0 ** -(i % 7) * rng.random(spec.valid.shape), 0)
        assert log_likelihood(p / p.sum(-1, keepdims=True)) < best + 1e-9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_modes": 40}, "of 40 joint actions"),
        ({"num_pairs": 9}, "4 features separate 16 clusters, asked for 18"),
        ({"values": (1.0,)}, "each of the 3 modes"),
    ],
)
def test_impossible_problems_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_one_step(0, **wrong)
