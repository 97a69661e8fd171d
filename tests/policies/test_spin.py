"""The contract of every registered policy, and what is SPIN's own."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models import categorical
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.policies.base import Policy
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.registry import POLICIES

JOINT = np.array(list(itertools.product(range(2), range(3), range(2))))  # every joint action of the fixture spec
PUBLISHED = SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=False)
WARM = dataclasses.replace(PUBLISHED, queries="mask", heads="asm")
SETTINGS = {"spin": PUBLISHED, "spin_warm": WARM}  # a policy that is registered needs a line here


@pytest.fixture(scope="module", params=sorted(POLICIES))
def made(request, spec, asm_config, asm_params):
    """(policy, params): a registered policy on the tiny ASM, with spread-out probabilities."""
    policy = Policy(*map(jax.jit, POLICIES[request.param].make(spec, 5, asm_config, SETTINGS[request.param])))
    params = policy.init(jax.random.key(0), asm_params)
    noise = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(params))))
    return policy, jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(noise), p.shape), params)


@pytest.fixture(scope="module")
def observation():
    return jax.random.normal(jax.random.key(2), (1, 5))


def joint_log_prob(policy, params, frozen, observation):
    return policy.log_prob(params, frozen, jnp.repeat(observation, len(JOINT), 0), jnp.asarray(JOINT), None)


def test_shapes_and_dtypes(made, asm_params):
    policy, params = made
    observations, actions = jnp.zeros((4, 5)), jnp.zeros((4, 3), jnp.int32)
    for key in (None, jax.random.key(0)):
        assert policy.log_prob(params, asm_params, observations, actions, key).shape == (4,)
    for drawn in (
        policy.sample(params, asm_params, observations, jax.random.key(0)),
        policy.mode(params, asm_params, observations),
    ):
        assert (drawn.shape, drawn.dtype) == ((4, 3), jnp.int32)


def test_probabilities_of_the_joint_space_sum_to_one(made, asm_params, observation):
    total = jnp.exp(joint_log_prob(*made, asm_params, observation)).sum()
    assert float(total) == pytest.approx(1, rel=1e-5)


def test_samples_follow_log_prob_and_never_padding(made, asm_params, observation, spec):
    """Every joint action's frequency within 4 sigma of its probability; 20 000 draws."""
    policy, params = made
    n = 20_000
    draws = np.asarray(policy.sample(params, asm_params, jnp.repeat(observation, n, 0), jax.random.key(3)))
    assert (draws < np.array(spec.cardinalities)[None]).all()
    p = np.exp(joint_log_prob(policy, params, asm_params, observation))
    found = (draws[:, None, :] == JOINT[None]).all(-1).mean(0)
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_mode_is_the_most_probable_joint_action(made, asm_params):
    policy, params = made
    for observation in jax.random.normal(jax.random.key(4), (4, 1, 5)):
        best = JOINT[np.argmax(joint_log_prob(policy, params, asm_params, observation))]
        np.testing.assert_array_equal(policy.mode(params, asm_params, observation)[0], best)


@pytest.mark.usefixtures("debug_nans")
def test_gradients_are_finite_and_reach_every_parameter_under_dropout(made, asm_params, observation):
    policy, params = made

    def loss(params):
        return policy.log_prob(params, asm_params, observation, jnp.array([[1, 2, 0]]), jax.random.key(5)).sum()

    for name, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert jnp.isfinite(gradient).all(), name
        assert (gradient != 0).any(), name


def test_warm_start_is_the_asm_under_full_masking(spec, asm_config, asm_params):
    """Before training, to the last bit."""
    policy = make_spin(spec, 5, asm_config, WARM)
    params = policy.init(jax.random.key(0), asm_params)
    observations = jax.random.normal(jax.random.key(6), (len(JOINT), 5))
    logits = full_mask_logits(ASM(spec, asm_config), asm_params, observations)
    expected = categorical.log_prob(logits, jnp.asarray(JOINT), spec.valid)
    np.testing.assert_array_equal(policy.log_prob(params, asm_params, observations, JOINT, None), expected)
    np.testing.assert_array_equal(params["queries"], asm_params["table"][:, spec.num_choices])


def test_published_start_ignores_the_asms_tables_and_heads(spec, asm_config, asm_params):
    policy = make_spin(spec, 5, asm_config, PUBLISHED)
    policy = policy._replace(init=jax.jit(policy.init))
    params = policy.init(jax.random.key(0), asm_params)
    other = {
        **asm_params,
        "table": asm_params["table"] + 1,
        "heads": jax.tree.map(lambda p: p + 1, asm_params["heads"]),
    }
    jax.tree.map(np.testing.assert_array_equal, params, policy.init(jax.random.key(0), other))
    log_prob = jax.jit(policy.log_prob)
    found = [log_prob(params, f, jnp.ones((2, 5)), jnp.zeros((2, 3), int), None) for f in (asm_params, other)]
    np.testing.assert_array_equal(*found)


def test_asm_heads_of_another_width_are_refused(spec, asm_config):
    with pytest.raises(ValueError, match="width 6.*head_width is 7"):
        make_spin(spec, 5, asm_config, dataclasses.replace(WARM, head_width=7))


@pytest.mark.parametrize("change", [{"queries": "zeros"}, {"heads": "warm"}])
def test_unknown_starts_are_refused(change):
    with pytest.raises(ValueError, match="queries must be"):
        dataclasses.replace(PUBLISHED, **change)


def test_frozen_dropout_acts_only_when_true_and_with_a_key(spec, asm_config, asm_params):
    """The heads' own dropout is 0 here, so that only the frozen body can differ."""

    def log_probs(frozen_dropout):
        config = dataclasses.replace(PUBLISHED, dropout=0.0, frozen_dropout=frozen_dropout)
        policy = make_spin(spec, 5, asm_config, config)
        params = policy.init(jax.random.key(0), asm_params)
        batch = jnp.ones((2, 5)), jnp.zeros((2, 3), int)
        return [
            policy.log_prob(params, asm_params, *batch, key) for key in (None, jax.random.key(0), jax.random.key(1))
        ]

    (off, off_0, off_1), (on, on_0, on_1) = log_probs(False), log_probs(True)
    np.testing.assert_array_equal(off, on)
    np.testing.assert_allclose(off, off_0, rtol=1e-6)
    np.testing.assert_array_equal(off_0, off_1)
    assert not np.allclose(on, on_0, rtol=1e-3)
    assert not np.allclose(on_0, on_1, rtol=1e-3)
