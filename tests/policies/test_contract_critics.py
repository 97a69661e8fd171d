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
    """Exact for products; of a policy that draws, the mean of 4 000 expectations lies within 4 sigma."""
    p = made.joint_probabilities(observation, joint)
    expected, batch = joint_q @ p, 4_000 if made.sampled else 12
    states = jnp.repeat(observation, batch, 0), repeated(utilities, batch)
    found = made("expected_utility", *states, jax.random.key(9))
    if made.sampled:
        variance = ((joint_q**2) @ p - expected**2) / base.EXPECTATION_SAMPLES
        assert (np.abs(found.mean(1) - expected) < 4 * np.sqrt(variance / batch)).all()
        np.testing.assert_allclose(found.var(1), variance, rtol=0.15)  # so many draws each, and no fewer
    else:
        np.testing.assert_allclose(found, np.repeat(expected[:, None], batch, 1), rtol=1e-5, atol=1e-6)


def test_best_in_support_is_the_best_of_the_enumerated_support(
    in_order, utilities, joint, joint_q, spec, slot_probabilities
):
    """In 12 states; of a policy that draws, over 30 calls of 10 candidates each, which stay inside of the support."""
    observations = jax.random.normal(jax.random.key(10), (12, 5))
    keys = jax.random.split(jax.random.key(11), 30 if in_order.sampled else 1)
    calls = [in_order("best_in_support", observations, repeated(utilities, 12), THRESHOLD, key) for key in keys]
    found, values = (np.stack(arrays) for arrays in zip(*calls, strict=True))  # [calls, B, N], [calls, E, B]
    score = joint_q.min(0) if in_order.sampled else np.asarray(utilities.min(0)[0])[np.arange(3)[None], joint].sum(1)
    excluded = 0
    for b, observation in enumerate(observations):
        p = in_order.joint_probabilities(observation[None], joint)
        inside = supported(joint, p, slot_probabilities, spec.num_choices)
        excluded += (~inside).sum()
        chosen = (found[:, b, None] == joint[None]).all(-1).argmax(-1)
        assert inside[chosen].all()
        assert score[chosen].max() == score[inside].max()
        np.testing.assert_allclose(values[:, :, b].max(0), joint_q[:, inside].max(1), rtol=1e-5)
        assert (values[:, :, b] > joint_q[:, chosen].T - 1e-5).all()
    assert excluded
