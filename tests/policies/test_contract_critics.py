"""The contract of every registered policy under critics: expectations and supports, against the joint space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies import base

THRESHOLD = 0.3


@pytest.fixture(scope="module")
def utilities(spec):
    """[E, 1, N, K] of two critics that disagree; padding is far above all else, where it would win if it counted."""
    drawn = jax.random.normal(jax.random.key(8), (2, 1, spec.num_slots, spec.num_choices))
    return jnp.where(spec.valid[None, None], drawn, 50.0)


@pytest.fixture(scope="module")
def joint_q(utilities, joint):
    """Q of every joint action [E, J], slot by slot in numpy."""
    table = np.asarray(utilities)[:, 0]
    return np.array([[sum(u[i, k] for i, k in enumerate(actions)) for actions in joint] for u in table])


def supported(joint, probabilities, conditional, num_choices):
    """[J] bool: every slot's choice is at least THRESHOLD times as probable as the best, given the slots before."""

    def allowed(actions):
        slots = [conditional(joint, probabilities, actions[:i], num_choices) for i in range(len(actions))]
        return all(p[k] >= THRESHOLD * p.max() for p, k in zip(slots, actions, strict=True))

    return np.array([allowed(actions.tolist()) for actions in joint])


def repeated(utilities, batch):
    return jnp.repeat(utilities, batch, axis=1)


def test_expected_utility_is_that_of_the_joint_space(made, observation, utilities, joint, joint_q):
    """The smaller expectation, exact, of a product; of a policy that draws, that of the smaller Q, within 4 sigma."""
    p = made.joint_probabilities(observation, joint)
    batch = 4_000 if made.sampled else 12
    states = jnp.repeat(observation, batch, 0), repeated(utilities, batch)
    found = made("expected_utility", *states, jax.random.key(9))
    if made.sampled:
        smaller = joint_q.min(0)
        expected = smaller @ p
        variance = (smaller**2 @ p - expected**2) / base.EXPECTATION_SAMPLES
        assert np.abs(found.mean() - expected) < 4 * np.sqrt(variance / batch)
        np.testing.assert_allclose(found.var(), variance, rtol=0.15)  # so many draws each, and no fewer
    else:
        np.testing.assert_allclose(found, np.repeat((joint_q @ p).min(), batch), rtol=1e-5, atol=1e-6)


def test_best_in_support_is_the_best_of_the_enumerated_support(
    in_order, utilities, joint, joint_q, spec, slot_probabilities
):
    """In 12 states; of a policy that draws, over 30 calls of 10 candidates each: its support is all that it draws."""
    observations = jax.random.normal(jax.random.key(10), (12, 5))
    keys = jax.random.split(jax.random.key(11), 30 if in_order.sampled else 1)
    calls = [in_order("best_in_support", observations, repeated(utilities, 12), THRESHOLD, key) for key in keys]
    found, values = (np.stack(arrays) for arrays in zip(*calls, strict=True))  # [calls, B, N], [calls, B]
    smaller = joint_q.min(0)
    score = smaller if in_order.sampled else np.asarray(utilities.min(0)[0])[np.arange(3)[None], joint].sum(1)
    excluded = 0
    for b, observation in enumerate(observations):
        p = in_order.joint_probabilities(observation[None], joint)
        inside = supported(joint, p, slot_probabilities, spec.num_choices) | in_order.sampled
        excluded += (~inside).sum()
        chosen = (found[:, b, None] == joint[None]).all(-1).argmax(-1)
        assert inside[chosen].all()
        if in_order.sampled:
            np.testing.assert_allclose(values[:, b], smaller[chosen], rtol=1e-5)
            likely = p > 0.05  # of 300 draws, one in 10^6 of these would not be among them
            assert values[:, b].max() >= score[likely].max() - 1e-5
        else:
            assert score[chosen].max() == score[inside].max()
            np.testing.assert_allclose(values[:, b], joint_q[:, inside].max(1).min(), rtol=1e-5)
    assert excluded or in_order.sampled
