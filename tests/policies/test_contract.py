"""The contract of every registered policy: distributions over joint actions (under critics: test_contract_critics)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies.base import encoded
from spin_jax.types import ActionSpec

UNEQUAL = ActionSpec((2, 7, 100))


@pytest.fixture(scope="module", params=["saint", "factored", "autoregressive"])
def unequal(request, asm_config, make_one):
    """A policy over slots of 2, 7 and 100 choices: most of the table is padding."""
    return make_one(request.param, UNEQUAL, asm_config, ())


def assert_shapes(made, spec, batch):
    """Padding has the best utility of all and must count for nothing."""
    n, k = spec.num_slots, spec.num_choices
    observations, key = jax.random.normal(jax.random.key(1), (batch, 5)), jax.random.key(0)
    utilities = jnp.broadcast_to(jnp.where(spec.valid, jnp.float32(1), 9)[None, None], (2, batch, n, k))
    for dropout_key in (None, key):
        found = made("log_prob", observations, jnp.zeros((batch, n), jnp.int32), dropout_key)
        assert (found.shape, found.dtype) == ((batch,), jnp.float32)
        assert (found <= 0).all()
    best, values = made("best_in_support", observations, utilities, 0.3, key)
    for found in (values, made("expected_utility", observations, utilities, key)):
        assert (found.shape, found.dtype) == ((batch,), jnp.float32)
        np.testing.assert_allclose(found, n, rtol=1e-5)
    for actions in (
        made("sample", observations, key),
        made("mode", observations),
        made("choose", observations, utilities, key),
        made("choose", observations, utilities, None),
        made("best_in_support", observations, utilities, 0.0, key)[0],
        best,
    ):
        assert (actions.shape, actions.dtype) == ((batch, n), jnp.int32)
        assert (actions < np.array(spec.cardinalities)[None]).all()


def test_shapes_and_dtypes(made, spec):
    assert_shapes(made, spec, batch=12)


def test_shapes_and_dtypes_of_very_unequal_slots(unequal):
    assert_shapes(unequal, UNEQUAL, batch=500)


def test_probabilities_of_the_joint_space_sum_to_one(made, joint, observation):
    assert made.joint_probabilities(observation, joint).sum() == pytest.approx(1, rel=1e-5)


def test_samples_follow_log_prob_and_never_padding(made, joint, observation, spec):
    """Every joint action's frequency within 4 sigma of its probability; 20 000 draws."""
    n = 20_000
    draws = np.asarray(made("sample", jnp.repeat(observation, n, 0), jax.random.key(3)))
    assert (draws < np.array(spec.cardinalities)[None]).all()
    p = made.joint_probabilities(observation, joint)
    found = (draws[:, None, :] == joint[None]).all(-1).mean(0)
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_mode_is_the_greedy_decoding_which_is_the_argmax_of_a_product(in_order, joint, spec, slot_probabilities):
    observations = jax.random.normal(jax.random.key(4), (12, 5))
    for observation, found in zip(observations, in_order("mode", observations), strict=True):
        p, greedy = in_order.joint_probabilities(observation[None], joint), []
        for _ in range(spec.num_slots):
            greedy.append(int(slot_probabilities(joint, p, greedy, spec.num_choices).argmax()))
        np.testing.assert_array_equal(found, greedy)
        assert in_order.sampled or greedy == joint[p.argmax()].tolist()


def test_choose_plays_the_mode_without_a_key_and_samples_with_one(in_order):
    key = jax.random.key(7)
    observations, utilities = jax.random.normal(key, (12, 5)), jax.random.normal(key, (2, 12, 3, 3))
    greedy, drawn = (in_order("choose", observations, utilities, k) for k in (None, key))
    np.testing.assert_array_equal(greedy, in_order("mode", observations))
    np.testing.assert_array_equal(drawn, in_order("sample", observations, key))


def assert_gradients(made, observation, actions):
    def loss(params):
        x = encoded(made.plain, made.frozen, observation)
        return made.plain.log_prob(params, made.frozen, x, jnp.array([actions]), jax.random.key(5)).sum()

    for name, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(made.params)):
        assert jnp.isfinite(gradient).all(), name
        assert (gradient != 0).any(), name


@pytest.mark.usefixtures("debug_nans")
def test_gradients_are_finite_and_reach_every_parameter_under_dropout(made, observation):
    assert_gradients(made, observation, [1, 2, 0])


@pytest.mark.usefixtures("debug_nans")
def test_gradients_of_very_unequal_slots_are_finite_and_reach_every_parameter(unequal, observation):
    assert_gradients(unequal, observation, [1, 6, 99])


def test_not_jitted_is_the_same(made, joint):
    observations = jax.random.normal(jax.random.key(6), (len(joint), 5))
    x, actions = encoded(made.policy, made.frozen, observations), jnp.asarray(joint)
    found = made.plain.log_prob(made.params, made.frozen, x, actions, None)
    np.testing.assert_allclose(found, made("log_prob", observations, actions, None), rtol=1e-5)


def test_nothing_is_compiled_twice(made):
    """Calls with other values of the same shapes find the program of the first."""

    def call_all(i):
        key = jax.random.key(i)
        observations, utilities = jax.random.normal(key, (12, 5)), jax.random.normal(key, (2, 12, 3, 3))
        made("log_prob", observations, jnp.full((12, 3), i, jnp.int32), key)
        made("sample", observations, key)
        made("mode", observations)
        made("expected_utility", observations, utilities, key)
        made("best_in_support", observations, utilities, 0.1 * i, key)
        made("choose", observations, utilities, key)

    call_all(0)
    before = list(made.traces)
    call_all(1)
    assert made.traces == before
