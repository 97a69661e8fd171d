"""The contract of every registered policy under Gumbel noise in place of a key, and of exact probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

BATCH = 12


def gumbel(seed, rows, numbers):
    return np.random.default_rng(seed).gumbel(size=(rows, numbers)).astype(np.float32)


@pytest.fixture(scope="module")
def utilities(spec):
    """[E, B, N, K], with the padding far above everything else, where it would win if it counted."""
    drawn = jax.random.normal(jax.random.key(8), (2, BATCH, spec.num_slots, spec.num_choices))
    return jnp.where(spec.valid[None, None], drawn, 50.0)


def test_choose_with_the_greedy_noise_is_greedy(made, utilities):
    observations = jax.random.normal(jax.random.key(4), (BATCH, 5))
    noise = jnp.broadcast_to(made.policy.greedy_noise[None], (BATCH, len(made.policy.greedy_noise)))
    greedy, found = (made("choose", observations, utilities, source) for source in (None, noise))
    np.testing.assert_array_equal(found, greedy)


def test_a_states_actions_depend_on_its_own_noise_alone(made, utilities):
    """The states in reverse get the same actions in reverse; of `choose` and, where it draws, of BCQ's support."""
    observations = jax.random.normal(jax.random.key(4), (BATCH, 5))
    methods = [("choose", (), len(made.policy.greedy_noise))]
    if made.sampled:
        methods.append(("best_in_support", (0.3,), len(made.policy.support_noise)))
    for method, threshold, numbers in methods:
        for noise in (gumbel(0, BATCH, numbers), None):
            one = made(method, observations, utilities, *threshold, noise)
            turned = None if noise is None else noise[::-1]
            other = made(method, observations[::-1], utilities[:, ::-1], *threshold, turned)
            np.testing.assert_array_equal(jax.tree.leaves(one)[0], jax.tree.leaves(other)[0][::-1])


def test_samples_with_noise_follow_log_prob(made, joint, observation, spec, utilities):
    """A product takes the largest log p + noise of each slot. Of others, every joint action's frequency lies within
    4 sigma of its probability; 20 000 draws with numpy's Gumbel numbers.
    """
    if not made.sampled:
        observations, noise = jax.random.normal(jax.random.key(4), (BATCH, 5)), gumbel(3, BATCH, spec.valid.size)
        with np.errstate(divide="ignore"):
            score = np.log(made("probabilities", observations)) + noise.reshape(BATCH, *spec.valid.shape)
        np.testing.assert_array_equal(made("choose", observations, utilities, noise), score.argmax(-1))
        return
    n, rounds = 20_000, 2 if len(made.policy.greedy_noise) > spec.valid.size else 1  # spin_decode has two of them
    noise = gumbel(3, n, rounds * spec.valid.size)
    draws = np.asarray(made("sample", jnp.repeat(observation, n, 0), noise))
    p = made.joint_probabilities(observation, joint)
    found = (draws[:, None, :] == joint[None]).all(-1).mean(0)
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_probabilities_are_the_marginals_of_the_joint_space_or_are_not_offered(made, joint, observation, spec):
    if made.sampled:
        assert made.policy.probabilities is None
        return
    found = np.asarray(made("probabilities", observation))[0]
    p = made.joint_probabilities(observation, joint)
    marginals = [[p[joint[:, i] == k].sum() for k in range(spec.num_choices)] for i in range(spec.num_slots)]
    np.testing.assert_allclose(found, marginals, rtol=1e-5)
    assert (found[~spec.valid] == 0).all()
