"""Stage 1's learner against an independent update, and that it learns and survives a checkpoint."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.learners.asm import ASMOptimiserConfig, make_asm_learner
from spin_jax.learners.base import compiled_init
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.objectives.masked_modelling import MaskingConfig
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.types import Transition

MASKING = MaskingConfig("fixed", mask_rate=0.4, full_mask_share=0.0, replace_mask=0.8, replace_random=0.1)
OPTIMISER = ASMOptimiserConfig(learning_rate=0.01, clip_norm=0.3)  # a norm that real gradients exceed


def make_batch(rows=32, dtype=np.float32):
    """Actions that follow from the state: slot i of K_i = (2, 3, 2) reads feature i."""
    observation = np.random.default_rng(0).normal(size=(rows, 5)).astype(dtype)
    action = (observation[:, :3] > 0) + np.array([0, 1, 0]) * (observation[:, :3] > 1)
    return Transition(observation, action.astype(np.int32), None, None, None)


@pytest.fixture(scope="module")
def learner(spec, asm_config):
    return make_asm_learner(spec, asm_config, MASKING, OPTIMISER)


def test_three_steps_equal_an_independent_update(spec, asm_config, plain_asm):
    """Oracle: jax.grad of the plain model and loss, clip and Adam in numpy; float64, since the keys' biases have zero
    gradient and Adam would blow their rounding up to whole steps. The masking is given by hand."""
    config = dataclasses.replace(asm_config, body=dataclasses.replace(asm_config.body, dropout=0.0))
    rng = np.random.default_rng(1)
    masking = rng.integers(0, (3, 4, 3), (32, 3)), rng.random((32, 3)) < 0.4  # choices, chosen
    batch = make_batch(dtype=np.float64)

    def loss(params, choices, chosen):
        logits = plain_asm(params, config, batch.observation, choices, jnp, jax.scipy.special.erf)
        terms = []
        for i, k in enumerate(spec.cardinalities):
            real = logits[:, i, :k]
            log_p = real - jnp.log(jnp.exp(real).sum(-1, keepdims=True))
            terms.append(-log_p[np.arange(32), batch.action[:, i]])
        return (jnp.stack(terms, 1) * chosen).sum() / (chosen.sum() + 1e-8)

    with jax.enable_x64(True):
        learner = make_asm_learner(spec, config, MASKING, OPTIMISER, corrupt=lambda *_: masking)
        state = compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 5)))
        state = jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
        params = jax.tree.map(np.array, state.params)
        m = v = jax.tree.map(np.zeros_like, params)
        update, gradient_of, norms = jax.jit(learner.update), jax.jit(jax.grad(loss)), []
        for t in (1, 2, 3):
            state, metrics = update(state, (), batch, jax.random.key(t))
            g = jax.tree.map(np.array, gradient_of(params, *masking))
            norms.append(np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(g))))
            assert float(metrics["grad_norm"]) == pytest.approx(norms[-1], rel=1e-6)
            g = jax.tree.map(lambda x: x * min(1, OPTIMISER.clip_norm / (norms[-1] + 1e-6)), g)
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)
            correct = (1 - 0.9**t, 1 - 0.999**t)
            params = jax.tree.map(
                lambda p, m, v: p - 0.01 * (m / correct[0]) / (np.sqrt(v / correct[1]) + 1e-8),  # noqa: B023
                params,
                m,
                v,
            )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state.params, params)
    assert max(norms) > OPTIMISER.clip_norm


@pytest.fixture(scope="module")
def trained(learner):
    """(state, losses) of 300 steps."""
    update = jax.jit(learner.update)
    state, losses = compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 5))), []
    for step in range(300):
        state, metrics = update(state, (), make_batch(), jax.random.key(step))
        losses.append(float(metrics["masked_cross_entropy"]))
    assert update._cache_size() == 1  # it does not compile a second time
    return state, losses


def test_loss_falls_and_the_modes_become_right(learner, trained):
    state, losses = trained
    assert np.mean(losses[-20:]) < 0.4 * np.mean(losses[:20])
    batch = make_batch()
    assert (jax.jit(learner.act)(state, (), batch.observation, None) == batch.action).mean() > 0.9


def test_act_is_the_distribution_under_full_masking(learner, trained, spec, asm_config, asm_params):
    """Sampled frequencies of each slot's choices within 4 sigma of the softmax; 10 000 draws."""
    observation = jnp.ones((1, 5))
    logits = full_mask_logits(ASM(spec, asm_config), asm_params, observation)
    state = trained[0]._replace(params=asm_params)
    act = jax.jit(learner.act)
    draws = act(state, (), jnp.ones((10_000, 5)), jax.random.key(1))
    greedy = act(state, (), observation, None)
    for i, k in enumerate(spec.cardinalities):
        p = np.exp(logits[0, i, :k]) / np.exp(logits[0, i, :k]).sum()
        found = np.bincount(draws[:, i], minlength=k) / 10_000
        assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / 10_000)).all()
        assert int(greedy[0, i]) == p.argmax()


def test_state_survives_a_checkpoint_bit_for_bit(learner, trained, tmp_path):
    state, _ = trained
    CheckpointStore(tmp_path).save(300, state, {})
    like = jax.eval_shape(lambda: learner.init(jax.random.key(7), (), jnp.zeros((1, 5))))
    restored = CheckpointStore(tmp_path).restore(like)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
