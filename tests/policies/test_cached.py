"""spin_cached: the same numbers whether z(s) is computed in the step or once for the log."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.measure import make_program, settings
from spin_jax.learners.asm import full_mask_logits
from spin_jax.learners.base import compiled_init
from spin_jax.learners.bcq import BCQConfig, make_bcq
from spin_jax.models import categorical
from spin_jax.models.asm import ASM
from spin_jax.policies.cached import CachedConfig, make_cached, packed, unpacked
from spin_jax.types import Transition

CONFIG = CachedConfig(heads="asm", head_width=6, dropout=0.0)
BCQ = BCQConfig(
    gamma=0.9, tau=0.1, learning_rate=0.01, lr_decay=1.0, q="sum", num_critics=2, critic_width=7, threshold=0.3,
    always_dropout=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def policy(spec, asm_config):
    return make_cached(spec, asm_config, CONFIG)


def make_batch(seed):
    rng = np.random.default_rng(seed)
    s, s_next = rng.normal(size=(2, 16, 5)).astype(np.float32)
    action = rng.integers(0, (2, 3, 2), (16, 3)).astype(np.int32)
    return Transition(s, action, rng.normal(size=16).astype(np.float32), np.ones(16, np.float32), s_next)


def test_warm_start_is_the_asm_under_full_masking(policy, spec, asm_config, asm_params):
    batch = make_batch(0)
    z = policy.encode(asm_params, batch.observation)
    found = policy.log_prob(policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5))), asm_params, z, batch.action)
    logits = full_mask_logits(ASM(spec, asm_config), asm_params, batch.observation)
    np.testing.assert_allclose(found, categorical.log_prob(logits, batch.action, spec.valid), rtol=1e-5)


def reading_observations(policy):
    """The same policy without a cache: every function encodes the observation itself."""

    def encoding(method):
        return lambda params, frozen, x, *args: method(params, frozen, policy.encode(frozen, x), *args)

    names = ("log_prob", "sample", "mode", "expected_utility", "best_in_support", "choose")
    return policy._replace(encode=None, **{name: encoding(getattr(policy, name)) for name in names})


def test_training_on_cached_encodings_equals_training_without(policy, spec, asm_params):
    """BCQ, which asks the policy about s' too: float32 to rounding, bfloat16 to that of bfloat16; 3 steps."""

    def run(policy, keep=None):
        learner = make_bcq(policy, spec, BCQ)
        update, state, trace = (
            jax.jit(learner.update),
            compiled_init(learner)(jax.random.key(0), asm_params, jnp.zeros((1, 5))),
            [],
        )
        for step in range(3):
            batch = make_batch(step)
            if keep:
                z, z_next = (policy.encode(asm_params, x) for x in (batch.observation, batch.next_observation))
                batch = batch._replace(x=keep(z), next_x=keep(z_next))
            state, metrics = update(state, asm_params, batch, jax.random.key(step))
            trace.append(metrics)
        return state, trace

    (expected, expected_trace), (exact, exact_trace), (_, rounded_trace) = (
        run(reading_observations(policy)),
        run(policy, lambda z: z),
        run(policy, packed),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), exact, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), exact_trace, expected_trace)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2), rounded_trace, expected_trace)


def test_drawing_batches_makes_no_copy_of_the_encoded_log():
    """In bfloat16 a float32 copy of all 4096 rows was made before the first batch of 16 was drawn."""
    program = make_program(settings("cheetah_run", policy="spin_cached", train__batch_size=16), 2)
    log = program.data.x
    assert log.dtype == jnp.uint16
    assert program.compile().memory_analysis().temp_size_in_bytes < log.nbytes / 2


def test_packing_rounds_to_bfloat16():
    z = jnp.array([[1.0, -0.1, 3e38, 1e-40, 1 + 2**-9]])
    np.testing.assert_array_equal(unpacked(packed(z)), z.astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_array_equal(unpacked(z), z)


def test_targets_of_bcq_read_the_encoding_of_the_next_state_alone(policy, spec, asm_params):
    learner, batch = make_bcq(policy, spec, dataclasses.replace(BCQ, threshold=0.9)), make_batch(0)
    z, z_next = (policy.encode(asm_params, x) for x in (batch.observation, batch.next_observation))
    state, update = compiled_init(learner)(jax.random.key(0), asm_params, jnp.zeros((1, 5))), jax.jit(learner.update)

    def critic_loss(z, z_next):
        found = batch._replace(x=z, next_x=z_next)
        return float(update(state, asm_params, found, jax.random.key(0))[1]["critic_loss"])

    assert critic_loss(-z, z_next) == critic_loss(z, z_next)
    assert critic_loss(z, -z_next) != critic_loss(z, z_next)


def test_only_heads_are_trained(policy, asm_params):
    params = policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5)))
    jax.tree.map(np.testing.assert_array_equal, params, asm_params["heads"])


def test_heads_that_do_not_fit_are_refused(spec, asm_config):
    with pytest.raises(ValueError, match="width 6.*head_width is 7"):
        make_cached(spec, asm_config, dataclasses.replace(CONFIG, head_width=7))
    with pytest.raises(ValueError, match="spin_cached.heads must be"):
        dataclasses.replace(CONFIG, heads="warm")
