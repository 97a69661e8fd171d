"""The autoregressive policy AR: an LSTM over the slots; pi(a|s) = prod_i pi(a_i | s, a_1 … a_{i-1})."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from spin_jax.fields import Section, Size
from spin_jax.models import categorical
from spin_jax.models.asm import ASMConfig
from spin_jax.models.gumbel import for_draws, split
from spin_jax.models.initialisers import normal, uniform
from spin_jax.models.lstm import blank_carry, init_lstm, lstm, lstm_step, project
from spin_jax.policies.base import Policy, sampled_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class AutoregressiveConfig(Section, where="config.autoregressive."):
    """Widths of the state embedding, of a choice's embedding and of the LSTM layers.

    Raises ValueError if a value is out of range.
    """

    state_width: Size
    choice_width: Size
    lstm_width: Size
    num_layers: Size


def make_autoregressive(spec: ActionSpec, asm_config: ASMConfig, config: AutoregressiveConfig) -> Policy:
    """The autoregressive policy; it reads neither the ASM nor the ASM's configuration.

    Step i reads [state embedding, embedding of slot i-1's choice]. The state embedding is Dense and ReLU. Parameter
    "choices" [K + 1, C] ~ N(0, 1): row k is the embedding of choice k, whatever the slot, and row K is what step 0
    reads. There is no dropout. mode decodes greedily, slot by slot, which does not always give the most probable joint
    action.
    """

    def init(key, frozen, observation):
        choice_key, *keys = jax.random.split(key, 4)
        (n, k), num_features, lstm_width = spec.valid.shape, observation.shape[-1], config.lstm_width
        inputs = [config.state_width + config.choice_width, *[lstm_width] * (config.num_layers - 1)]
        layers = enumerate(jax.random.split(keys[2], config.num_layers))
        return {
            "state": _init_dense(keys[0], num_features, (num_features, config.state_width), (config.state_width,)),
            "choices": normal(choice_key, (k + 1, config.choice_width)),
            "lstm": {f"layer_{i}": init_lstm(layer_key, inputs[i], lstm_width) for i, layer_key in layers},
            "heads": _init_dense(keys[1], lstm_width, (n, lstm_width, k), (n, k)),
        }

    def log_prob(params, frozen, observation, actions, key=None):
        return categorical.log_prob(forced_logits(params, config, observation, actions), actions, spec.valid)

    def draw(params, frozen, observation, source, count):
        sources = split(for_draws(source, count), spec.num_slots)
        rows = _decode(params, config, spec, observation, count, sources, categorical.sample)
        return rows.reshape(observation.shape[0], count, spec.num_slots).swapaxes(0, 1)

    def mode(params, frozen, observation):
        nothing = jnp.zeros(spec.num_slots)
        return _decode(params, config, spec, observation, 1, nothing, lambda _, *args: categorical.mode(*args))

    return sampled_policy(init, log_prob, draw, mode, noise_per_draw=spec.valid.size)


def _init_dense(key, fan: int, kernel: tuple[int, ...], bias: tuple[int, ...]) -> dict:
    kernel_key, bias_key = jax.random.split(key)
    return {"kernel": uniform(fan)(kernel_key, kernel), "bias": uniform(fan)(bias_key, bias)}


def _layers(params, config: AutoregressiveConfig) -> list[dict]:
    return [params["lstm"][f"layer_{i}"] for i in range(config.num_layers)]


def _project_state(params, config: AutoregressiveConfig, observation):
    """The state's part of the first layer's gates, [B, 4 width]; it is the same at every step."""
    state = jax.nn.relu(observation @ params["state"]["kernel"] + params["state"]["bias"][None])
    return state @ params["lstm"]["layer_0"]["kernel_in"][: config.state_width]


def _project_choices(params, config: AutoregressiveConfig):
    """Every previous choice's part of the first layer's gates, [K + 1, 4 width]."""
    return params["choices"] @ params["lstm"]["layer_0"]["kernel_in"][config.state_width :]


def forced_logits(params: Any, config: AutoregressiveConfig, observation: jax.Array, actions: jax.Array) -> jax.Array:
    """Logits [B, N, K] of every slot, given observation [B, S] and the earlier slots' choices in actions [B, N].

    Each layer runs over all slots before the next layer does: one product then projects its inputs for all slots.
    """
    start = len(params["choices"]) - 1
    previous = jnp.pad(actions[:, :-1], ((0, 0), (1, 0)), constant_values=start)  # [B, N]: slot i-1's choice
    first, *others = _layers(params, config)
    choices = _project_choices(params, config)
    one_hot = jax.nn.one_hot(previous.T, len(choices), dtype=choices.dtype)  # [N, B, K + 1]
    h = lstm(first, project(one_hot, choices), _project_state(params, config, observation))
    for layer in others:
        h = lstm(layer, project(h, layer["kernel_in"]))
    return jnp.einsum("nbh,nhk->bnk", h, params["heads"]["kernel"]) + params["heads"]["bias"][None]


def _decode(params, config: AutoregressiveConfig, spec: ActionSpec, observation, count, sources, pick):
    """Joint actions [B count, N], the draws of a state behind each other, chosen slot by slot in one scan.

    pick(sources[i], logits [B count, 1, K], valid [1, K]) -> choice [B count, 1] of slot i.
    """
    first, *others = _layers(params, config)
    choices = _project_choices(params, config)
    state = jnp.repeat(_project_state(params, config, observation), count, axis=0)
    carries = [blank_carry(layer, state.shape[0]) for layer in (first, *others)]

    def step(carry, slot):
        previous, carries = carry
        head, valid, source = slot
        after = [lstm_step(first, carries[0], state + choices[previous])]
        for layer, before in zip(others, carries[1:], strict=True):
            after.append(lstm_step(layer, before, after[-1][0] @ layer["kernel_in"]))
        logits = after[-1][0] @ head["kernel"] + head["bias"][None]
        choice = pick(source, logits[:, None], valid[None])[:, 0]
        return (choice, after), choice

    start = jnp.full(state.shape[0], spec.num_choices, jnp.int32)
    _, chosen = jax.lax.scan(step, (start, carries), (params["heads"], jnp.asarray(spec.valid), sources))
    return chosen.T
