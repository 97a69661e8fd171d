"""bfloat16 in the body: parameters and results stay float32, and the numbers stay what they were."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.learners.base import compiled_init
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.types import Transition


@pytest.fixture(scope="module")
def low(asm_config) -> ASMConfig:
    return dataclasses.replace(asm_config, body=dataclasses.replace(asm_config.body, dtype="bfloat16"))


def test_logits_are_float32_and_close(spec, asm_config, low, asm_params):
    observation, choices = jax.random.normal(jax.random.key(1), (16, 5)), jnp.full((16, 3), 3)
    exact, rounded = (
        jax.jit(ASM(spec, c).apply)({"params": asm_params}, observation, choices) for c in (asm_config, low)
    )
    assert rounded.dtype == jnp.float32
    difference = float(jnp.abs(exact - rounded).max())
    assert 1e-5 < difference < 0.05 * float(jnp.abs(exact).max())  # rounded, and by a few parts in a hundred at most


def test_masters_gradients_and_moments_are_float32_and_training_goes_the_same_way(spec, asm_config, low):
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(32, 5)).astype(np.float32)
    action = (observation[:, :3] > 0).astype(np.int32)
    batch = Transition(observation, action, np.zeros(32, np.float32), np.ones(32, np.float32), observation)
    losses = {}
    for name, config in (("float32", asm_config), ("bfloat16", low)):
        learner = make_bc(make_saint(spec, config, SAINTConfig(6, 0.0)), spec, BCConfig(1e-2))
        state, update = compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 5))), jax.jit(learner.update)
        for step in range(40):
            state, metrics = update(state, (), batch, jax.random.key(step))
        losses[name] = float(metrics["policy_loss"])
        kinds = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
        assert kinds == {jnp.dtype("float32")}
    first = -3 * np.log(0.45)
    assert losses["float32"] < 0.5 * first
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.2)


def test_the_product_inputs_really_are_bfloat16(spec, low, asm_params):
    observation, choices = jnp.ones((2, 5)), jnp.zeros((2, 3), int)
    lowered = jax.jit(ASM(spec, low).apply).lower({"params": asm_params}, observation, choices).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line]
    assert len(products) > 5
    assert all("bf16" in line for line in products)
