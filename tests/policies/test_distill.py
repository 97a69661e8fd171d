"""SPIN-Distill: the student learns the ASM's embeddings, and the policy starts from the student."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.learners.asm import full_mask_logits
from spin_jax.learners.base import compiled_init
from spin_jax.learners.distill import make_distiller
from spin_jax.models import categorical
from spin_jax.models.asm import ASM, SlotHeads
from spin_jax.policies.cached import mask_embeddings
from spin_jax.policies.distill import DistillConfig, Student, make_distill
from spin_jax.types import Transition

CONFIG = DistillConfig(
    width=32, heads="asm", head_width=6, dropout=0.1, steps=400, batch_size=16, learning_rate=0.01, kl_weight=0.5
)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(16, 5)).astype(np.float32)
    return Transition(s, rng.integers(0, 2, (16, 3)).astype(np.int32), np.zeros(16), np.ones(16), s)


@pytest.fixture(scope="module")
def distilled(spec, asm_config, asm_params, batch):
    """(learner, first state, last state, metrics of the first and of the last of 400 steps on 16 states)."""
    learner = make_distiller(spec, asm_config, CONFIG)
    first = compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 5)))

    @jax.jit
    def steps(state):
        return jax.lax.scan(lambda s, _: learner.update(s, asm_params, batch, jax.random.key(0)), state, None, 400)

    last, metrics = steps(first)
    return learner, first, last, metrics


@pytest.fixture
def frozen(asm_params, distilled):
    return {"asm": asm_params, "student": distilled[2].params}


def test_student_reaches_the_asms_embeddings_and_predictions(distilled):
    *_, metrics = distilled
    for name in ("distill_mse", "distill_kl"):
        assert metrics[name][0] > 0.1
        assert metrics[name][-1] < 0.002


def test_the_loss_is_the_described_one(distilled, spec, asm_config, asm_params, batch):
    """MSE over all numbers, and KL(ASM || student) summed over slots, in numpy, both through the ASM's heads."""
    _, first, _, metrics = distilled
    z = np.asarray(mask_embeddings(ASM(spec, asm_config), asm_params, batch.observation))
    found = np.asarray(Student(3, 32, 8).apply({"params": first.params}, batch.observation))
    heads = SlotHeads(spec, 6, 0.0)
    p_logits, q_logits = (
        np.asarray(heads.apply({"params": asm_params["heads"]}, x, deterministic=True), float) for x in (z, found)
    )
    kl = 0
    for i, k in enumerate(spec.cardinalities):
        p, q = (np.exp(x[:, i, :k]) / np.exp(x[:, i, :k]).sum(-1, keepdims=True) for x in (p_logits, q_logits))
        kl += (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(metrics["distill_mse"][0], ((z - found) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["distill_kl"][0], kl.mean(), rtol=1e-4)


def test_the_teacher_gets_no_gradient_and_the_optimiser_holds_the_student_alone(distilled):
    _, first, last, _ = distilled
    assert jax.tree.map(jnp.shape, last.opt_state[0].mu) == jax.tree.map(jnp.shape, first.params)


def test_distilled_behaviour_cloning_is_the_asms(distilled, spec, asm_config, asm_params, batch):
    learner, _, last, _ = distilled
    logits = full_mask_logits(ASM(spec, asm_config), asm_params, batch.observation)
    played = learner.act(last, asm_params, batch.observation, None)
    assert (np.asarray(played) == np.asarray(categorical.mode(logits, spec.valid))).mean() > 0.95
    drawn = learner.act(last, asm_params, batch.observation, jax.random.key(0))
    assert (drawn < np.array(spec.cardinalities)[None]).all()


def test_policy_starts_from_the_student_and_the_asms_heads(spec, asm_config, frozen, batch):
    policy = make_distill(spec, asm_config, CONFIG)
    params = policy.init(jax.random.key(0), frozen, jnp.zeros((1, 5)))
    jax.tree.map(np.testing.assert_array_equal, params, {"student": frozen["student"], "heads": frozen["asm"]["heads"]})
    z = Student(3, 32, 8).apply({"params": frozen["student"]}, batch.observation)
    logits = SlotHeads(spec, 6, 0.0).apply({"params": frozen["asm"]["heads"]}, z, deterministic=True)
    found = policy.log_prob(params, frozen, batch.observation, batch.action)
    np.testing.assert_allclose(found, categorical.log_prob(logits, batch.action, spec.valid), rtol=1e-6)


def test_policy_steps_never_run_the_transformer(spec, asm_config, frozen, batch):
    """Another ASM changes no probability: only proposals ask it."""
    policy = make_distill(spec, asm_config, CONFIG)
    params = policy.init(jax.random.key(0), frozen, jnp.zeros((1, 5)))
    nothing = {"asm": jax.tree.map(jnp.zeros_like, frozen["asm"]), "student": None}
    found = [policy.log_prob(params, f, batch.observation, batch.action, jax.random.key(1)) for f in (frozen, nothing)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("change", [{"width": 0}, {"steps": 0}, {"learning_rate": 0.0}, {"kl_weight": -1.0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="spin_distill"):
        dataclasses.replace(CONFIG, **change)


def test_heads_that_do_not_fit_are_refused(spec, asm_config):
    with pytest.raises(ValueError, match="width 6.*head_width is 7"):
        make_distill(spec, asm_config, dataclasses.replace(CONFIG, head_width=7))
