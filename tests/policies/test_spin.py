"""What is SPIN's own: where queries and heads start, and where dropout is on."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models import categorical
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.policies.spin import SPINConfig, make_spin

JOINT = np.array(list(itertools.product(range(2), range(3), range(2))))  # every joint action of the fixture spec
PUBLISHED = SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=False)
WARM = dataclasses.replace(PUBLISHED, queries="mask", heads="asm")


def test_warm_start_is_the_asm_under_full_masking(spec, asm_config, asm_params):
    """Before training, to the last bit."""
    policy = make_spin(spec, asm_config, WARM)
    params = policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5)))
    observations = jax.random.normal(jax.random.key(6), (len(JOINT), 5))
    logits = full_mask_logits(ASM(spec, asm_config), asm_params, observations)
    expected = categorical.log_prob(logits, jnp.asarray(JOINT), spec.valid)
    np.testing.assert_array_equal(policy.log_prob(params, asm_params, observations, JOINT, None), expected)
    np.testing.assert_array_equal(params["queries"], asm_params["table"][:, spec.num_choices])


def test_published_start_ignores_the_asms_tables_and_heads(spec, asm_config, asm_params):
    policy = make_spin(spec, asm_config, PUBLISHED)
    policy = policy._replace(init=jax.jit(policy.init))
    params = policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5)))
    other = {
        **asm_params,
        "table": asm_params["table"] + 1,
        "heads": jax.tree.map(lambda p: p + 1, asm_params["heads"]),
    }
    jax.tree.map(np.testing.assert_array_equal, params, policy.init(jax.random.key(0), other, jnp.zeros((1, 5))))
    log_prob = jax.jit(policy.log_prob)
    found = [log_prob(params, f, jnp.ones((2, 5)), jnp.zeros((2, 3), int), None) for f in (asm_params, other)]
    np.testing.assert_array_equal(*found)


def test_asm_heads_of_another_width_are_refused(spec, asm_config):
    with pytest.raises(ValueError, match="width 6.*head_width is 7"):
        make_spin(spec, asm_config, dataclasses.replace(WARM, head_width=7))


@pytest.mark.parametrize("change", [{"queries": "zeros"}, {"heads": "warm"}])
def test_unknown_starts_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"config.spin.{name} must be '"):
        dataclasses.replace(PUBLISHED, **change)


def test_frozen_dropout_acts_only_when_true_and_with_a_key(spec, asm_config, asm_params):
    """The heads' own dropout is 0 here, so that only the frozen body can differ."""

    def log_probs(frozen_dropout):
        config = dataclasses.replace(PUBLISHED, dropout=0.0, frozen_dropout=frozen_dropout)
        policy = make_spin(spec, asm_config, config)
        params = policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5)))
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
