"""The body is equivariant, masked values are hidden, and the whole ASM is what its description says."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models.asm import ASM, SlotHeads
from spin_jax.models.attention import attend, attend_from_shared, project
from spin_jax.models.transformer import Body, BodyConfig
from spin_jax.types import ActionSpec


@pytest.fixture
def batch():
    """Observations [4, 5], and choices [4, 3] with and without [MASK] (3)."""
    observation = jax.random.normal(jax.random.key(1), (4, 5))
    return observation, jnp.array([[0, 1, 1], [3, 2, 3], [1, 3, 0], [3, 3, 3]])


def test_forward_pass_is_the_described_one(spec, asm_config, asm_params, plain_asm, batch):
    """Oracle: plain numpy in float64, with the exact GELU, pre-LayerNorm, no final LayerNorm; two unequal blocks."""
    config = dataclasses.replace(asm_config, body=dataclasses.replace(asm_config.body, num_blocks=2))
    block = asm_params["body"]["block_0"]
    params = {**asm_params, "body": {"block_0": block, "block_1": jax.tree.map(lambda p: 1.5 * p[::-1], block)}}
    observation, choices = (np.asarray(x, float) for x in batch)
    exact = jax.tree.map(lambda p: np.asarray(p, float), params)
    expected = plain_asm(exact, config, observation, choices.astype(int), np, np.vectorize(math.erf))
    found = jax.jit(ASM(spec, config).apply)({"params": params}, *batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_body_is_permutation_equivariant(asm_config):
    """Any token may change places with any other: here all of them are slots."""
    x = jax.random.normal(jax.random.key(0), (2, 7, 8))
    order = np.array([3, 0, 6, 1, 5, 2, 4])
    body = Body(asm_config.body)
    variables = jax.jit(lambda key: body.init(key, x[:, :0], x, deterministic=True))(jax.random.key(1))
    apply = jax.jit(lambda x: body.apply(variables, x[:, :0], x, deterministic=True))
    np.testing.assert_allclose(apply(x[:, order]), apply(x)[:, order], rtol=1e-5, atol=1e-5)
    assert float(jnp.abs(apply(x)[:, order] - apply(x)).max()) > 0.1  # the order matters


def test_attention_over_groups_is_attention_over_all_keys():
    """Oracle: one softmax over the concatenated keys, everything repeated in every row."""
    draw = iter(jax.random.normal(key, shape) for key, shape in zip(
        jax.random.split(jax.random.key(0), 5),
        [(2, 5, 4), (3, 2, 6, 4), (3, 2, 6, 4), (2, 5, 4), (2, 5, 4)], strict=True,
    ))  # fmt: skip
    query, *of_states = next(draw), next(draw), next(draw)
    of_slots = [next(draw), next(draw)]
    key, value = (
        jnp.concatenate([a, jnp.broadcast_to(b, (3, *b.shape))], 2) for a, b in zip(of_states, of_slots, strict=True)
    )
    scores = np.einsum("hqw,bhkw->bhqk", query, key) / 2
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.einsum("bhqk,bhkw->bhqw", weights, value)
    found = [
        attend(query, [of_states, of_slots]),
        attend(jnp.broadcast_to(query, (3, *query.shape)), [of_states, of_slots]),
        attend(query, [(key, value)]),
        attend_from_shared(query, of_slots, of_states),
    ]
    for one in found:
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_attention_are_those_of_plain_products():
    """Oracle: JAX's own gradient of the same attention written with einsum; also of two seeds at once."""
    query, key, value = (
        jax.random.normal(k, (3, 2, n, 4))
        for k, n in zip(jax.random.split(jax.random.key(0), 3), (5, 6, 6), strict=True)
    )

    def plain(query, key, value):
        weights = jax.nn.softmax(jnp.einsum("bhqw,bhkw->bhqk", query, key) / 2, -1)
        return jnp.einsum("bhqk,bhkw->bhqw", weights, value)

    def gradients(attention):
        return jax.jit(jax.grad(lambda *arrays: jnp.sin(attention(*arrays)).sum(), argnums=(0, 1, 2)))

    found, expected = gradients(lambda q, k, v: attend(q, [(k, v)])), gradients(plain)
    for one, other in zip(found(query, key, value), expected(query, key, value), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    seeds = jax.vmap(found)(*(jnp.stack([x, 2 * x]) for x in (query, key, value)))
    for one, other in zip(seeds, expected(2 * query, 2 * key, 2 * value), strict=True):
        np.testing.assert_allclose(one[1], other, rtol=1e-5, atol=1e-6)


def test_projections_in_one_product_are_each_its_own():
    x, *parts = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(3, 5, 6), *[(6, 2, 4), (2, 4)] * 3]))
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    for found, (kernel, bias) in zip(project(x, *pairs), pairs, strict=True):
        expected = np.einsum("btd,dhw->bhtw", x, kernel) + np.asarray(bias)[None, :, None]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_tokens_shared_by_all_rows_equal_the_same_tokens_in_every_row(asm_config, num_blocks, dropout):
    """Projections once a step and the collapsed first attention change values and gradients by rounding alone."""
    body = Body(dataclasses.replace(asm_config.body, num_blocks=num_blocks, dropout=dropout))
    states, slots = jax.random.normal(jax.random.key(0), (4, 2, 8)), jax.random.normal(jax.random.key(1), (5, 8))
    params = jax.jit(lambda key: body.init(key, states, slots, deterministic=True))(jax.random.key(2))["params"]

    def loss(shared):
        def of(params, slots):
            tokens = slots if shared else jnp.broadcast_to(slots, (4, 5, 8))
            out = body.apply({"params": params}, states, tokens, deterministic=True)
            return (out * jnp.arange(40.0).reshape(1, 5, 8)).sum(), out

        return jax.jit(jax.value_and_grad(of, argnums=(0, 1), has_aux=True))(params, slots)

    ((_, found), grads), ((_, expected), expected_grads) = loss(True), loss(False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected_grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), grads, expected_grads)


def test_asm_is_equivariant_when_tables_and_heads_move_along(asm_config, asm_params, batch):
    observation, choices = batch
    order = np.array([2, 0, 1])
    asm = ASM(ActionSpec((3, 3, 3)), asm_config)
    moved = {**asm_params, "table": asm_params["table"][order]}
    moved["heads"] = jax.tree.map(lambda p: p[order], asm_params["heads"])
    apply = jax.jit(asm.apply)
    direct = apply({"params": moved}, observation, choices[:, order])
    after = apply({"params": asm_params}, observation, choices)[:, order]
    np.testing.assert_allclose(direct, after, rtol=1e-5, atol=1e-5)


def test_masked_value_cannot_leak(spec, asm_config, asm_params, batch):
    """Where slot 1 is [MASK], the table rows of its true values change no logit and get exactly zero gradient."""
    observation, choices = batch
    asm = ASM(spec, asm_config)
    masked = choices.at[:, 1].set(spec.num_choices)

    def logits(table):
        return asm.apply({"params": {**asm_params, "table": table}}, observation, masked)

    table = asm_params["table"]
    np.testing.assert_array_equal(logits(table), logits(table.at[1, :3].add(7.0)))
    gradient = jax.jit(jax.jacrev(logits))(table)  # [B, N, K, N, K + 1, D]
    assert (gradient[:, :, :, 1, :3] == 0).all()
    assert (jnp.abs(gradient[:, :, :, 1, 3]).max((0, 2, 3)) > 0).all()  # [MASK] itself does reach every slot
    assert (jnp.abs(gradient[0, :, :, 0, 0]).max((1, 2)) > 0).all()  # and so does a value that is shown


def test_slot_heads_equal_a_plain_loop():
    spec, x = ActionSpec((2, 4)), jax.random.normal(jax.random.key(0), (3, 2, 5))
    heads = SlotHeads(spec, width=6, dropout=0.0)
    params = heads.init(jax.random.key(1), x, deterministic=True)["params"]
    found = heads.apply({"params": params}, x, deterministic=True)
    for i in range(2):
        hidden = np.asarray(x[:, i] @ params["kernel_in"][i]) + np.asarray(params["bias_in"])[i]
        hidden = 0.5 * hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        expected = hidden @ np.asarray(params["kernel_out"])[i] + np.asarray(params["bias_out"])[i]
        np.testing.assert_allclose(found[:, i], expected, rtol=1e-5, atol=1e-6)


def test_dropout_changes_logits_only_when_not_deterministic(spec, asm_config, asm_params, batch):
    asm, variables = ASM(spec, asm_config), {"params": asm_params}
    rngs = [{"dropout": jax.random.key(i)} for i in range(2)]
    apply = jax.jit(asm.apply, static_argnames="deterministic")
    still = [apply(variables, *batch, deterministic=True, rngs=r) for r in rngs]
    noisy = [apply(variables, *batch, deterministic=False, rngs=r) for r in rngs]
    np.testing.assert_array_equal(*still)
    assert not np.allclose(*noisy, rtol=1e-3)


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 10 must be divisible by num_heads 4"):
        BodyConfig(10, 4, 1, 2, 0.0)
