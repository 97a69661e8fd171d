"""The factored policy is the described MLP, with dropout after each hidden layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies.factored import FactoredConfig, FactoredNetwork

CONFIG = FactoredConfig(width=8, dropout=0.1)


@pytest.fixture(scope="module")
def factored(spec, asm_config, make_one):
    return make_one("factored", spec, asm_config, ())


def test_forward_pass_is_the_described_one(factored, spec, joint):
    """Oracle: plain numpy in float64, one head a slot, softmax over the real choices."""
    observation = jax.random.normal(jax.random.key(1), (len(joint), 5))
    params, x = jax.tree.map(lambda p: np.asarray(p, float), (factored.params, observation))
    for layer in ("Dense_0", "Dense_1"):
        x = np.maximum(x @ params[layer]["kernel"] + params[layer]["bias"], 0)
    expected = 0
    for i, k in enumerate(spec.cardinalities):
        head = slice(i * spec.num_choices, i * spec.num_choices + k)
        logits = x @ params["Dense_2"]["kernel"][:, head] + params["Dense_2"]["bias"][head]
        expected += logits[np.arange(len(joint)), joint[:, i]] - np.log(np.exp(logits).sum(-1))
    found = factored("log_prob", observation, jnp.asarray(joint), None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dropout_is_after_both_layers_and_on_with_a_key_only(spec, factored):
    """With every weight 1 and inputs 1 the logits are 5 * 2 * 2 * n_1 * n_2, n of the 8 units of a layer kept.

    Closed form: n ~ Binomial(8, 1/2), so E[n] = 4 and E[n^2] = 18, and the layers are independent; 4 000 rows, 4 sigma.
    """
    network = FactoredNetwork(spec, FactoredConfig(width=8, dropout=0.5))
    ones = {"params": jax.tree.map(lambda p: jnp.full_like(p, p.ndim == 2), factored.params)}
    noisy = network.apply(ones, jnp.ones((4_000, 5)), deterministic=False, rngs={"dropout": jax.random.key(0)})
    product = np.asarray(noisy[:, 0, 0]) / 20
    assert set(product.tolist()) <= {a * b for a in range(9) for b in range(9)}
    variance = 18**2 - 16**2
    assert abs(product.mean() - 16) < 4 * np.sqrt(variance / 4_000)
    assert product.var() == pytest.approx(variance, rel=0.1)
    batch = jnp.ones((4, 5)), jnp.zeros((4, 3), jnp.int32)
    off, *on = (factored("log_prob", *batch, k) for k in (None, jax.random.key(0), jax.random.key(1)))
    np.testing.assert_allclose(off, off[0])
    assert not np.allclose(on[0], off, rtol=1e-3)
    assert not np.allclose(*on, rtol=1e-3)


@pytest.mark.parametrize("change", [{"width": 0}, {"dropout": 1.0}, {"dropout": float("nan")}])
def test_values_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"factored.{next(iter(change))} must"):
        dataclasses.replace(CONFIG, **change)
