"""The masked factored categorical, against enumeration of the joint space."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models import categorical
from spin_jax.types import ActionSpec

SPEC = ActionSpec((2, 3, 4))
JOINT = np.array(list(itertools.product(range(2), range(3), range(4))))


@pytest.fixture
def logits():
    """[1, N, K], with the padding far above everything else, where it would win if it counted."""
    drawn = jax.random.normal(jax.random.key(0), (1, 3, 4))
    return jnp.where(SPEC.valid[None], drawn, 50.0)


def test_padding_has_probability_zero(logits):
    log_probs = categorical.log_softmax(logits, SPEC.valid)
    assert (log_probs[0][~SPEC.valid] == -jnp.inf).all()
    for i, k in enumerate(SPEC.cardinalities):  # oracle: a softmax over the real choices alone
        real = np.exp(np.asarray(logits[0, i, :k], np.float64))
        np.testing.assert_allclose(np.exp(log_probs[0, i, :k]), real / real.sum(), rtol=1e-5)


def test_probabilities_of_the_joint_space_sum_to_one(logits):
    every = jnp.broadcast_to(logits, (len(JOINT), 3, 4))
    assert float(jnp.exp(categorical.log_prob(every, JOINT, SPEC.valid)).sum()) == pytest.approx(1, rel=1e-5)


def test_samples_follow_log_prob_and_never_padding(logits):
    """Every joint action's frequency within 4 sigma of its probability; 20 000 draws."""
    n = 20_000
    draws = categorical.sample(jax.random.key(1), jnp.broadcast_to(logits, (n, 3, 4)), SPEC.valid)
    assert draws.dtype == jnp.int32
    assert (draws < np.array(SPEC.cardinalities)[None]).all()
    p = np.exp(categorical.log_prob(jnp.broadcast_to(logits, (len(JOINT), 3, 4)), JOINT, SPEC.valid))
    found = (np.asarray(draws)[:, None, :] == JOINT[None]).all(-1).mean(0)
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_mode_is_the_most_probable_joint_action(logits):
    log_probs = categorical.log_prob(jnp.broadcast_to(logits, (len(JOINT), 3, 4)), JOINT, SPEC.valid)
    np.testing.assert_array_equal(categorical.mode(logits, SPEC.valid)[0], JOINT[np.argmax(log_probs)])


@pytest.mark.usefixtures("debug_nans")
def test_gradients_are_finite_and_zero_on_padding(logits):
    def loss(logits):
        return categorical.log_prob(logits, jnp.array([[1, 2, 3]]), SPEC.valid).sum()

    gradient = jax.grad(loss)(logits)
    assert jnp.isfinite(gradient).all()
    assert (gradient[0][~SPEC.valid] == 0).all()
    assert (gradient[0][SPEC.valid] != 0).all()


def test_take_picks_each_slots_choice_for_every_leading_axis():
    values = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))  # [E, B, N, K]
    actions = jax.random.randint(jax.random.key(1), (5, 3), 0, 4)
    expected = [[[values[e, b, n, actions[b, n]] for n in range(3)] for b in range(5)] for e in range(2)]
    np.testing.assert_array_equal(categorical.take(values, actions), np.array(expected))


def test_actions_of_another_shape_are_refused(logits):
    with pytest.raises(AssertionError):
        categorical.log_prob(logits, jnp.zeros((1, 2), int), SPEC.valid)
    with pytest.raises(AssertionError):
        categorical.log_softmax(logits[0], SPEC.valid)


def test_support_is_relative_to_each_slots_best_and_never_padding(logits):
    """Hand table: shares of the best, and a threshold between them."""
    shares = np.array([[1.0, 0.29, 9.0, 9.0], [0.31, 1.0, 0.1, 9.0], [0.3, 0.2, 0.9, 1.0]])
    allowed = categorical.support(jnp.log(jnp.asarray(shares, jnp.float32))[None], SPEC.valid, 0.295)
    np.testing.assert_array_equal(allowed[0], [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 1]])
    np.testing.assert_array_equal(categorical.support(logits, SPEC.valid, 0.0)[0], SPEC.valid)


def test_kl_divergence_is_that_of_the_joint_distributions(logits):
    """Oracle: the sum over the enumerated joint space."""
    other = jnp.where(SPEC.valid[None], jax.random.normal(jax.random.key(9), (1, 3, 4)), -70.0)
    p, q = (
        np.asarray(categorical.log_prob(jnp.broadcast_to(x, (len(JOINT), 3, 4)), JOINT, SPEC.valid), float)
        for x in (logits, other)
    )
    np.testing.assert_allclose(
        categorical.kl_divergence(logits, other, SPEC.valid), [(np.exp(p) * (p - q)).sum()], rtol=1e-5
    )
    np.testing.assert_allclose(categorical.kl_divergence(logits, logits, SPEC.valid), [0.0], atol=1e-7)


@pytest.mark.usefixtures("debug_nans")
def test_gradient_of_the_kl_divergence_is_finite_and_zero_on_padding(logits):
    gradient = jax.grad(lambda x: categorical.kl_divergence(logits, x, SPEC.valid).sum())(logits[..., ::-1] * 0.5)
    assert jnp.isfinite(gradient).all()
    assert (gradient[0][~SPEC.valid] == 0).all()
