"""An ASM that does not see the state: its predictions are blind, and SPIN learns a state encoder of its own on it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.frozen.artefact import params_like
from spin_jax.learners.base import compiled_init
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.policies.cached import CachedConfig, make_cached
from spin_jax.policies.distill import DistillConfig, make_distill
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.record.checkpoint import flatten
from spin_jax.types import Transition

SPIN = SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=True)


@pytest.fixture(scope="module")
def config(asm_config):
    return dataclasses.replace(asm_config, state_free=True)


@pytest.fixture(scope="module")
def params(spec, config):
    rng, like = np.random.default_rng(0), params_like(spec, 5, config)
    return jax.tree.map(lambda p: jnp.asarray(0.3 * rng.normal(size=p.shape), p.dtype), like)


def test_the_asm_has_no_encoder_and_predicts_the_same_in_every_state(spec, config, params):
    assert params.keys() == {"body", "heads", "table"}
    asm, observations = ASM(spec, config), jax.random.normal(jax.random.key(0), (4, 5))
    choices = jnp.tile(jnp.array([[0, 3, 1]]), (4, 1))
    for logits in (
        asm.apply({"params": params}, observations, choices),
        full_mask_logits(asm, params, observations),
    ):
        np.testing.assert_allclose(logits, jnp.broadcast_to(logits[:1], logits.shape), rtol=1e-6)
        assert float(jnp.abs(logits).max()) > 0.1


def test_what_is_shown_of_other_slots_still_counts(spec, config, params):
    asm, observations = ASM(spec, config), jnp.zeros((2, 5))
    logits = asm.apply({"params": params}, observations, jnp.array([[0, 3, 1], [1, 3, 1]]))
    assert float(jnp.abs(logits[0] - logits[1]).max()) > 1e-3


@pytest.mark.parametrize("finetune", ["frozen", "trained"])
def test_spin_trains_an_encoder_of_its_own_and_sees_the_state(spec, config, params, finetune):
    policy = make_spin(spec, config, dataclasses.replace(SPIN, finetune=finetune))
    learner = make_bc(policy, spec, BCConfig(0.01))
    observation = np.random.default_rng(1).normal(size=(16, 5)).astype(np.float32)
    action = (observation[:, :3] > 0).astype(np.int32)
    batch = Transition(observation, action, np.ones(16, np.float32), np.ones(16, np.float32), observation)
    before = jax.tree.map(np.array, params)
    first = compiled_init(learner)(jax.random.key(0), params, jnp.zeros((1, 5)))
    last, _ = jax.jit(learner.update)(first, params, batch, jax.random.key(1))
    assert first.policy["encoder"].keys() == {"encoder_in", "encoder_out"}
    old, new = flatten(first.policy["encoder"]), flatten(last.policy["encoder"])
    assert all((old[name] != new[name]).any() for name in old)
    jax.tree.map(np.testing.assert_array_equal, params, before)
    found = policy.log_prob(first.policy, params, observation, np.zeros_like(action), None)
    assert float(jnp.ptp(found)) > 1e-3


def test_policies_that_see_the_state_through_the_asm_alone_refuse(spec, config):
    distill = DistillConfig(8, "fresh", 6, 0.1, steps=1, batch_size=1, learning_rate=1e-3, kl_weight=1.0)
    for make, settings in ((make_cached, CachedConfig("fresh", 6, 0.1)), (make_distill, distill)):
        with pytest.raises(ValueError, match="sees the state only through the ASM: it needs asm.state_free=False"):
            make(spec, config, settings)
