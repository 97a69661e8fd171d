"""The autoregressive policy: the described LSTM, causal, drawn as its log_prob says and decoded greedily."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models import categorical
from spin_jax.policies.autoregressive import AutoregressiveConfig, forced_logits

CONFIG = AutoregressiveConfig(state_width=6, choice_width=4, lstm_width=8, num_layers=2)


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
    state = np.maximum(state, 0)
    carries, logits = [[np.zeros((len(state), 8)) for _ in "hc"] for _ in range(2)], []
    for i in range(actions.shape[1]):
        previous = np.asarray(actions[:, i - 1]) if i else np.full(len(state), 3)
        x = np.concatenate([state, params["choices"][previous]], axis=-1)
        for j, carry in enumerate(carries):
            layer = params["lstm"][f"layer_{j}"]
            gates = x @ layer["kernel_in"] + carry[0] @ layer["kernel_hidden"] + layer["bias_in"] + layer["bias_hidden"]
            into, forget, candidate, out = gates[:, :8], gates[:, 8:16], gates[:, 16:24], gates[:, 24:]
            carry[1] = sigmoid(forget) * carry[1] + sigmoid(into) * np.tanh(candidate)
            carry[0] = x = sigmoid(out) * np.tanh(carry[1])
        logits.append(x @ params["heads"]["kernel"][i] + params["heads"]["bias"][i])
    return np.stack(logits, axis=1)


def test_forward_pass_is_the_described_one(made, batch):
    found = jax.jit(forced_logits, static_argnums=1)(made.params, CONFIG, *batch)
    np.testing.assert_allclose(found, plain_logits(made.params, *batch), rtol=1e-5, atol=1e-5)


def test_a_slot_reads_the_slots_before_it_and_no_others(made, batch, spec):
    """Changing choice j moves the probabilities of the slots behind it alone."""
    observation, actions = batch
    logits = jax.jit(lambda actions: forced_logits(made.params, CONFIG, observation, actions))
    before = logits(actions)
    for j in range(3):
        moved = jnp.abs(logits(actions.at[:, j].set(1 - actions[:, j].clip(0, 1))) - before).max((0, 2))
        assert (moved[: j + 1] == 0).all()
        assert (moved[j + 1 :] > 1e-3).all()


def test_slots_share_one_table_whose_last_row_starts_a_joint_action(made, batch, spec):
    """d log p(a_i | s, a_<i) / d choices is that of the rows that the slots before it chose, and of the start row."""
    observation, actions = batch[0][:1], jnp.array([[1, 2, 0]])

    def log_prob(choices):
        logits = forced_logits({**made.params, "choices": choices}, CONFIG, observation, actions)
        return categorical.take(categorical.log_softmax(logits, spec.valid), actions)[0]

    assert made.params["choices"].shape == (4, 4)
    reach = jnp.abs(jax.jit(jax.jacrev(log_prob))(made.params["choices"])).max(-1) > 0  # [N, K + 1]
    np.testing.assert_array_equal(reach, [[0, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 1]])


def test_drawing_is_step_by_step_sampling_with_the_same_noise(made, batch, spec):
    """Oracle: argmax of numpy logits plus Gumbel noise, slot by slot."""
    key = jax.random.key(3)
    actions = made("sample", batch[0], key)
    logits = np.where(spec.valid[None], plain_logits(made.params, batch[0], actions), -np.inf)
    for i, slot_key in enumerate(jax.random.split(key, 3)):
        noise = np.asarray(jax.random.gumbel(slot_key, (len(actions), 1, 3)))[:, 0]
        np.testing.assert_array_equal(actions[:, i], (logits[:, i] + noise).argmax(-1))


def test_decoding_is_greedy_and_not_always_the_joint_argmax(made, joint, spec):
    """Both occur among 64 states."""
    observations = jax.random.normal(jax.random.key(4), (64, 5))
    mode = np.asarray(made("mode", observations))
    logits = np.where(spec.valid[None], plain_logits(made.params, observations, mode), -np.inf)
    np.testing.assert_array_equal(mode, logits.argmax(-1))
    every = made("log_prob", jnp.repeat(observations, len(joint), 0), jnp.tile(joint, (64, 1)), None)
    agree = mode == joint[every.reshape(64, -1).argmax(-1)]
    assert 0 < agree.all(1).sum() < 64


def test_there_is_no_dropout(made, batch):
    np.testing.assert_array_equal(*(made("log_prob", *batch, key) for key in (None, jax.random.key(0))))


@pytest.mark.parametrize("change", [{"num_layers": 0}, {"choice_width": 0}])
def test_values_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"autoregressive.{next(iter(change))} must"):
        dataclasses.replace(CONFIG, **change)
