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
    expected, batch = joint_q @ p, 4_000 if made.sampled else 4
    states = jnp.repeat(observation, batch, 0), repeated(utilities, batch)
    found = made("expected_utility", *states, jax.random.key(9))
    if made.sampled:
        variance = ((joint_q**2) @ p - expected**2) / base.EXPECTATION_SAMPLES
        assert (np.abs(found.mean(1) - expected) < 4 * np.sqrt(variance / batch)).all()
        np.testing.assert_allclose(found.var(1), variance, rtol=0.15)  # so many draws each, and no fewer
    else:
        np.testing.assert_allclose(found, np.repeat(expected[:, None], batch, 1), rtol=1e-5, atol=1e-6)


def test_best_in_support_is_the_best_of_the_enumerated_support(
    made, utilities, joint, joint_q, spec, slot_probabilities, monkeypatch
):
    """In 4 states; with enough candidates (200 for 12 joint actions) where they are drawn."""
    monkeypatch.setattr(base, "SUPPORT_CANDIDATES", 200)
    observations = jax.random.normal(jax.random.key(10), (4, 5))
    args = made.params, made.frozen, made.plain.encode(made.frozen, observations), repeated(utilities, 4)
    best_in_support = jax.jit(lambda *args: made.plain.best_in_support(*args))  # traced anew
    found = best_in_support(*args, THRESHOLD, jax.random.key(11))
    smaller = np.asarray(utilities.min(0)[0])
    score = joint_q.min(0) if made.sampled else smaller[np.arange(3)[None], joint].sum(1)
    for observation, actions, values in zip(observations, found[0], found[1].T, strict=True):
        p = made.joint_probabilities(observation[None], joint)
        inside = supported(joint, p, slot_probabilities, spec.num_choices)
        assert not inside.all()
        np.testing.assert_array_equal(actions, joint[np.where(inside, score, -np.inf).argmax()])
        np.testing.assert_allclose(values, joint_q[:, inside].max(1), rtol=1e-5)


def test_few_candidates_stay_inside_of_the_support(made, utilities, joint, joint_q, spec, slot_probabilities):
    """200 results; each critic's value is that of some joint action of the support, and not below the chosen one's."""
    observation = jax.random.normal(jax.random.key(12), (1, 5))
    states = jnp.repeat(observation, 4, 0), repeated(utilities, 4), THRESHOLD
    results = [made("best_in_support", *states, key) for key in jax.random.split(jax.random.key(13), 50)]
    actions, values = (np.concatenate(r, axis=-1) for r in zip(*((a.T, v) for a, v in results), strict=True))
    p = made.joint_probabilities(observation, joint)
    inside = supported(joint, p, slot_probabilities, spec.num_choices)
    assert not inside.all()
    chosen = (actions.T[:, None] == joint[None]).all(-1)  # [200, J]
    assert (chosen.sum(1) == 1).all()
    assert inside[chosen.argmax(1)].all()
    for q, value in zip(joint_q, values, strict=True):
        assert (np.abs(value[:, None] - q[inside][None]).min(1) < 1e-5).all()
        assert (value >= q[chosen.argmax(1)] - 1e-5).all()
