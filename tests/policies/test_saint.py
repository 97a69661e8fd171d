"""SAINT and SPIN compute the described network, SAINT trains all of it, and slots have no order."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.types import ActionSpec

CONFIG = SAINTConfig(head_width=6, dropout=0.0)


@pytest.fixture(scope="module")
def saint(spec, asm_config, make_one):
    return make_one("saint", spec, asm_config, ())


@pytest.mark.parametrize("name", ["saint", "spin"])
def test_forward_pass_is_the_described_one(name, spec, asm_config, asm_params, make_one, plain_asm, joint):
    """Oracle: plain numpy in float64 with the queries as the action tokens, softmax over the real choices."""
    made = make_one(name, spec, asm_config, asm_params)
    trunk = made.params["asm"] if name == "saint" else made.frozen
    params = {**trunk, "table": made.params["queries"][:, None], "heads": made.params["heads"]}
    observation = jax.random.normal(jax.random.key(1), (len(joint), 5))
    exact = jax.tree.map(lambda p: np.asarray(p, float), (params, observation))
    logits = plain_asm(exact[0], asm_config, exact[1], np.zeros_like(joint), np, np.vectorize(math.erf))
    expected = 0
    for i, k in enumerate(spec.cardinalities):
        expected += logits[np.arange(len(joint)), i, joint[:, i]] - np.log(np.exp(logits[:, i, :k]).sum(-1))
    found = made("log_prob", observation, jnp.asarray(joint), None)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_slots_have_no_order_when_queries_and_heads_move_along(asm_config, saint):
    """Oracle: every slot's probabilities (the expectations of one-hot utilities), moved by hand."""
    spec, order = ActionSpec((3, 3, 3)), np.array([2, 0, 1])
    policy, one_hot = make_saint(spec, asm_config, CONFIG), jnp.eye(9).reshape(9, 1, 1, 3, 3)
    moved = {**saint.params, "queries": saint.params["queries"][order]}
    moved["heads"] = jax.tree.map(lambda p: p[order], saint.params["heads"])

    @jax.jit
    def probabilities(params, x):
        return jax.vmap(lambda u: policy.expected_utility(params, (), x, u, None)[0])(one_hot).reshape(3, 3)

    observation = jax.random.normal(jax.random.key(2), (1, 5))
    direct = probabilities(saint.params, observation)
    np.testing.assert_allclose(direct.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities(moved, observation), direct[order], rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(direct[order] - direct).max()) > 0.1  # the order matters


def test_everything_that_is_read_is_trained_and_nothing_else(spec, asm_config, asm_params):
    """The body starts from the key alone; an ASM that is given changes neither parameters nor probabilities."""
    policy = make_saint(spec, asm_config, CONFIG)
    init, log_prob = jax.jit(policy.init), jax.jit(policy.log_prob)
    params = init(jax.random.key(0), (), jnp.zeros((1, 5)))
    assert (sorted(params), sorted(params["asm"])) == (
        ["asm", "heads", "queries"],
        ["body", "encoder_in", "encoder_out"],
    )
    jax.tree.map(np.testing.assert_array_equal, params, init(jax.random.key(0), asm_params, jnp.zeros((1, 5))))
    found = [log_prob(params, f, jnp.ones((2, 5)), jnp.zeros((2, 3), int), None) for f in ((), asm_params)]
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(
        *(init(jax.random.key(i), (), jnp.zeros((1, 5)))["asm"]["encoder_in"]["kernel"] for i in range(2))
    )


def test_the_bodys_dropout_is_on_with_a_key_only(spec, asm_config, saint):
    """The heads' own dropout is 0 here, so that only the body can differ."""
    policy = make_saint(spec, asm_config, CONFIG)
    batch = jnp.ones((2, 5)), jnp.zeros((2, 3), int)
    log_prob = jax.jit(policy.log_prob)
    off, *on = (log_prob(saint.params, (), *batch, k) for k in (None, jax.random.key(0), jax.random.key(1)))
    np.testing.assert_allclose(off, saint("log_prob", *batch, None), rtol=1e-6)
    assert not np.allclose(off, on[0], rtol=1e-3)
    assert not np.allclose(*on, rtol=1e-3)


@pytest.mark.parametrize("change", [{"head_width": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_values_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"saint.{next(iter(change))} must"):
        SAINTConfig(**{"head_width": 6, "dropout": 0.1, **change})
