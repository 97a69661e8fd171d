"""SPIN whose ASM goes on learning: a copy in the policy, late and slowly; the frozen argument is left alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from spin_jax.learners.base import compiled_init
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.record.checkpoint import flatten
from spin_jax.types import Transition

TRAINED = SPINConfig(
    queries="mask", heads="asm", head_width=6, dropout=0.0, frozen_dropout=False,
    finetune="trained", asm_learning_rate=0.002, finetune_after=2,
)  # fmt: skip


def run(spec, asm_config, frozen, num_steps, **changes):
    """The policy's parameters before the first step of cloning and after each; Adam's rate is 0.01."""
    policy = make_spin(spec, asm_config, dataclasses.replace(TRAINED, **changes))
    learner = make_bc(policy, spec, BCConfig(0.01))
    rng = np.random.default_rng(0)
    s, action = rng.normal(size=(16, 5)).astype(np.float32), rng.integers(0, (2, 3, 2), (16, 3)).astype(np.int32)
    batch = Transition(s, action, np.ones(16, np.float32), np.ones(16, np.float32), s)
    states, update = [compiled_init(learner)(jax.random.key(0), frozen, jnp.zeros((1, 5)))], jax.jit(learner.update)
    for _ in range(num_steps):
        states.append(update(states[-1], frozen, batch, jax.random.key(1))[0])
    return [state.policy for state in states]


def largest_move(a, b):
    return [float(jnp.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]


def test_the_copy_waits_and_the_light_parts_do_not(spec, asm_config, asm_params):
    before = jax.tree.map(np.array, asm_params)
    params = run(spec, asm_config, asm_params, 3)
    jax.tree.map(assert_array_equal, asm_params, before)
    assert params[0].keys() == {"queries", "heads", "asm"}
    assert params[0]["asm"].keys() == asm_params.keys() - {"table", "heads"}  # those are left in any case
    for name, part in params[0]["asm"].items():
        jax.tree.map(assert_array_equal, part, asm_params[name])
        for waiting in params[1:3]:
            jax.tree.map(assert_array_equal, part, waiting["asm"][name])
    moved, still = flatten(params[3]["asm"]), flatten(params[2]["asm"])
    for name in moved:  # attention ignores its keys' bias, which gets a gradient of rounding errors alone
        assert name.endswith("key/bias") or (moved[name] != still[name]).any(), name
    for a, b in zip(params, params[1:], strict=False):
        assert min(largest_move((a["queries"], a["heads"]), (b["queries"], b["heads"]))) > 0


def test_the_copy_has_its_own_rate(spec, asm_config, asm_params):
    """Adam's first step moves every number with a gradient by its rate."""
    first, second = run(spec, asm_config, asm_params, 1, finetune_after=0)
    light = largest_move((first["queries"], first["heads"]), (second["queries"], second["heads"]))
    np.testing.assert_allclose(light, 0.01, rtol=1e-2)
    assert max(largest_move(first["asm"], second["asm"])) == pytest.approx(0.002, rel=1e-2)


def test_frozen_keeps_no_copy(spec, asm_config, asm_params):
    policy = make_spin(spec, asm_config, dataclasses.replace(TRAINED, finetune="frozen"))
    assert policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5))).keys() == {"queries", "heads"}


def test_both_start_alike(spec, asm_config, asm_params):
    found = []
    for finetune in ("trained", "frozen"):
        policy = make_spin(spec, asm_config, dataclasses.replace(TRAINED, finetune=finetune))
        params = policy.init(jax.random.key(0), asm_params, jnp.zeros((1, 5)))
        found.append(policy.log_prob(params, asm_params, jnp.ones((2, 5)), jnp.ones((2, 3), int)))
    assert_array_equal(*found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finetune": "no"}, "finetune must"),
        ({"asm_learning_rate": 0.0}, "asm_l"),
        ({"finetune_after": -1}, "finetune_after"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TRAINED, **change)
