"""Ordered slots: what positions add to the ASM's tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models.asm import ASM, ASMConfig, sinusoidal


def test_sinusoidal_hand_table():
    """Vaswani et al. (2017), section 3.5, for D = 4: wavelengths 2 pi and 2 pi 100."""
    one, hundredth = (np.sin(1), np.cos(1)), (np.sin(0.01), np.cos(0.01))
    two = (np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02))
    np.testing.assert_allclose(sinusoidal(3, 4), [[0, 1, 0, 1], [*one, *hundredth], two], rtol=1e-6)


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal"])
def test_positions_alone_break_the_equivariance(spec, asm_config, positions):
    asm = ASM(spec, dataclasses.replace(asm_config, positions=positions))
    observation, tokens = jax.random.normal(jax.random.key(0), (2, 5)), jax.random.normal(jax.random.key(1), (2, 3, 8))
    init = jax.jit(lambda key: asm.init(key, observation, jnp.zeros((2, 3), jnp.int32)))
    params = init(jax.random.key(2))["params"]
    if positions == "learned":
        assert params["positions"].shape == (3, 8)
        params["positions"] = 30 * params["positions"]
    else:
        assert "positions" not in params
    order = np.array([2, 0, 1])
    z = jax.jit(lambda tokens: asm.apply({"params": params}, observation, tokens, method=ASM.contextual))
    difference = float(jnp.abs(z(tokens[:, order]) - z(tokens)[:, order]).max())
    assert difference < 1e-5 if positions == "none" else difference > 0.1


def test_unknown_positions_are_refused(asm_config):
    with pytest.raises(ValueError, match="'learned' or 'sinusoidal', got 'rotary'"):
        ASMConfig(asm_config.body, 1, 8, "rotary")
