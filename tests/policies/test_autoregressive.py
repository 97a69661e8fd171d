"""The autoregressive policy: the described LSTM, causal, drawn as its log_prob says and decoded greedily."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models import categorical
from spin_jax.policies import autoregressive
from spin_jax.policies.autoregressive import AutoregressiveConfig, forced_logits, make_autoregressive
from spin_jax.policies.base import sampled_policy

CONFIG = AutoregressiveConfig(state_width=6, choice_width=4, lstm_width=8, num_layers=2, dropout=0.1)


@pytest.fixture(scope="module")
def made(spec, asm_config, make_one):
    return make_one("autoregressive", spec, asm_config, ())


@pytest.fixture(scope="module")
def batch(joint):
    return jax.random.normal(jax.random.key(1), (len(joint), 5)), jnp.asarray(joint)


def plain_logits(params, observation, actions):
    """Logits [B, N, K] slot after slot in numpy, float64: one LSTM step a slot, both layers in turn."""
    params, observation = jax.tree.map(lambda p: np.asarray(p, float), (params, observation))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    state = observation @ params["state"]["kernel"] + params["state"]["bias"]
    state = 0.5 * state * (1 + np.vectorize(math.erf)(state / 2**0.5))
    carries, logits = [[np.zeros((len(state), 8)) for _ in "hc"] for _ in range(2)], []
    for i in range(actions.shape[1]):
        previous = np.asarray(actions[:, i - 1]) if i else np.zeros(len(state), int)
        x = np.concatenate([state, params["choices"][i][previous]], axis=-1)
        for j, carry in enumerate(carries):
            layer = params["lstm"][f"layer_{j}"]
            gates = x @ layer["kernel_in"] + carry[0] @ layer["kernel_hidden"] + layer["bias"]
            into, forget, candidate, out = gates[:, :8], gates[:, 8:16], gates[:, 16:24], gates[:, 24:]
            carry[1] = sigmoid(forget) * carry[1] + sigmoid(into) * np.tanh(candidate)
            carry[0] = x = sigmoid(out) * np.tanh(carry[1])
        logits.append(x @ params["heads"]["kernel"][i] + params["heads"]["bias"][i])
    return np.stack(logits, axis=1)


def test_forward_pass_is_the_described_one(made, batch):
    found = jax.jit(forced_logits, static_argnums=1)(made.params, CONFIG, *batch)
    np.testing.assert_allclose(found, plain_logits(made.params, *batch), rtol=1e-5, atol=1e-5)


def test_a_slot_reads_the_slots_before_it_and_no_others(made, batch, spec):
    """d log p(a_i | s, a_<i) / d choices[j] is zero for j > i; [0, 0] is the start row, [j, k] slot j-1's choice k."""
    observation, actions = batch

    def log_prob(choices):
        logits = forced_logits({**made.params, "choices": choices}, CONFIG, observation, actions)
        return categorical.take(categorical.log_softmax(logits, spec.valid), actions).sum(0)

    reach = jnp.abs(jax.jit(jax.jacrev(log_prob))(made.params["choices"])).max(-1)  # [N, N, K]
    for i in range(3):
        assert (reach[i, i + 1 :] == 0).all()
        for j in range(i + 1):
            read = np.zeros(3, bool)
            read[: spec.cardinalities[j - 1] if j else 1] = True
            np.testing.assert_array_equal(reach[i, j] > 0, read)


def test_drawing_is_step_by_step_sampling_with_the_same_noise(made, batch, spec, monkeypatch):
    """Oracle: argmax of numpy logits plus Gumbel noise, slot by slot; also under a support (one candidate = a draw)."""
    monkeypatch.setattr(autoregressive, "sampled_policy", functools.partial(sampled_policy, candidates=1))
    one = jax.jit(make_autoregressive(spec, None, CONFIG).best_in_support)
    key, utilities = jax.random.key(3), jnp.zeros((2, len(batch[0]), 3, 3))
    supported, _ = one(made.params, (), batch[0], utilities, 0.5, key)
    for actions, threshold in ((made("sample", batch[0], key), 1e-9), (supported, 0.5)):
        logits = np.where(spec.valid[None], plain_logits(made.params, batch[0], actions), -np.inf)
        outside = logits < logits.max(-1, keepdims=True) + np.log(threshold)
        assert (outside & spec.valid[None]).any() == (threshold == 0.5)
        for i, slot_key in enumerate(jax.random.split(key, 3)):
            noise = np.asarray(jax.random.gumbel(slot_key, (len(actions), 1, 3)))[:, 0]
            score = np.where(outside[:, i], -np.inf, logits[:, i] + noise)
            np.testing.assert_array_equal(actions[:, i], score.argmax(-1))


def test_decoding_is_greedy_and_not_always_the_joint_argmax(made, joint, spec):
    """Both occur among 64 states."""
    observations = jax.random.normal(jax.random.key(4), (64, 5))
    mode = np.asarray(made("mode", observations))
    logits = np.where(spec.valid[None], plain_logits(made.params, observations, mode), -np.inf)
    np.testing.assert_array_equal(mode, logits.argmax(-1))
    every = made("log_prob", jnp.repeat(observations, len(joint), 0), jnp.tile(joint, (64, 1)), None)
    agree = mode == joint[every.reshape(64, -1).argmax(-1)]
    assert 0 < agree.all(1).sum() < 64


def test_dropout_is_on_with_a_key_only(made, batch):
    off, *on = (made("log_prob", *batch, k) for k in (None, jax.random.key(0), jax.random.key(1)))
    assert not np.allclose(off, on[0], rtol=1e-3)
    assert not np.allclose(*on, rtol=1e-3)


def test_kernels_start_within_the_bound_of_their_fan_in(spec):
    config = AutoregressiveConfig(state_width=64, choice_width=16, lstm_width=64, num_layers=2, dropout=0.1)
    params = jax.jit(make_autoregressive(spec, None, config).init)(jax.random.key(0), (), jnp.zeros((1, 5)))
    layers = params["lstm"]
    kernels = {5: params["state"]["kernel"], 80: layers["layer_0"]["kernel_in"], 64: layers["layer_0"]["kernel_hidden"]}
    for fan_in, kernel in (*kernels.items(), (64, layers["layer_1"]["kernel_in"]), (64, params["heads"]["kernel"])):
        largest = float(jnp.abs(kernel).max()) * fan_in**0.5
        assert 0.9 < largest <= 1


@pytest.mark.parametrize("change", [{"num_layers": 0}, {"choice_width": 0}, {"dropout": 1.0}])
def test_values_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"autoregressive.{next(iter(change))} must"):
        dataclasses.replace(CONFIG, **change)
