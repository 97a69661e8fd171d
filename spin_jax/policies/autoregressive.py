"""The autoregressive policy AR: an LSTM over the slots; pi(a|s) = prod_i pi(a_i | s, a_1 … a_{i-1})."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from spin_jax.models import categorical
from spin_jax.models.asm import ASMConfig
from spin_jax.models.dense import product
from spin_jax.models.dropout import Dropout
from spin_jax.models.lstm import blank_carry, init_kernel, init_lstm, lstm, lstm_step
from spin_jax.models.transformer import gelu
from spin_jax.policies.base import Policy, check_settings, sampled_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class AutoregressiveConfig:
    """Widths of the state embedding, of a choice's embedding and of the LSTM layers; dropout before the heads.

    Raises ValueError if a value is out of range.
    """

    state_width: int
    choice_width: int
    lstm_width: int
    num_layers: int
    dropout: float

    def __post_init__(self):
        check_settings("autoregressive", self)


def make_autoregressive(spec: ActionSpec, asm_config: ASMConfig, config: AutoregressiveConfig) -> Policy:
    """The autoregressive policy; it reads neither the ASM nor the ASM's configuration.

    Step i reads [state embedding, embedding of slot i-1's choice]. The state embedding is Dense and GELU (GELU is our
    choice). Parameter "choices" [N, K, C] ~ N(0, 1): row [i, k] is the embedding that step i reads if slot i-1 chose k,
    and [0, 0] is the start row. A key switches on dropout of the LSTM's outputs. mode decodes greedily, slot by slot,
    which does not always give the most probable joint action.
    """

    def init(key, frozen, observation):
        state_key, choice_key, head_key, *layer_keys = jax.random.split(key, 3 + config.num_layers)
        shape, widths = (spec.num_slots, spec.num_choices), (config.state_width, config.choice_width, config.lstm_width)
        inputs = [widths[0] + widths[1], *[widths[2]] * (config.num_layers - 1)]
        return {
            "state": {
                "kernel": init_kernel(state_key, (observation.shape[-1], widths[0])),
                "bias": jnp.zeros(widths[0]),
            },
            "choices": jax.random.normal(choice_key, (*shape, widths[1])),
            "lstm": {f"layer_{i}": init_lstm(k, inputs[i], widths[2]) for i, k in enumerate(layer_keys)},
            "heads": {
                "kernel": init_kernel(head_key, (widths[2], spec.valid.size)).reshape(-1, *shape).swapaxes(0, 1),
                "bias": jnp.zeros(shape),
            },
        }

    def log_prob(params, frozen, observation, actions, key=None):
        return categorical.log_prob(forced_logits(params, config, observation, actions, key), actions, spec.valid)

    def draw(params, frozen, observation, key, count, threshold):
        keys = jax.random.split(key, spec.num_slots)

        def pick(key, logits, valid):
            allowed = categorical.support(logits, valid, threshold)
            return categorical.sample(key, jnp.where(allowed, logits, -jnp.inf), valid)

        rows = _decode(params, config, spec, observation, count, keys, pick)
        return rows.reshape(count, len(observation), spec.num_slots)

    def mode(params, frozen, observation):
        nothing = jnp.zeros(spec.num_slots)
        return _decode(params, config, spec, observation, 1, nothing, lambda _, *args: categorical.mode(*args))

    return sampled_policy(init, log_prob, draw, mode)


def _layers(params, config: AutoregressiveConfig) -> list[dict]:
    return [params["lstm"][f"layer_{i}"] for i in range(config.num_layers)]


def _project_state(params, config: AutoregressiveConfig, observation):
    """The state's part of the first layer's gates, [B, 4 width]; it is the same at every step."""
    state = gelu(observation @ params["state"]["kernel"] + params["state"]["bias"][None])
    return state @ params["lstm"]["layer_0"]["kernel_in"][: config.state_width]


def _project_choice(params, config: AutoregressiveConfig, embedding):
    """The previous choice's part of the first layer's gates, [..., 4 width], from its embedding [..., C]."""
    return product(embedding, params["lstm"]["layer_0"]["kernel_in"][config.state_width :])


def forced_logits(
    params: Any, config: AutoregressiveConfig, observation: jax.Array, actions: jax.Array, key: jax.Array | None = None
) -> jax.Array:
    """Logits [B, N, K] of every slot, given observation [B, S] and the earlier slots' choices in actions [B, N].

    Each layer runs over all slots before the next layer does: one product then projects its inputs for all slots.
    """
    previous = jnp.pad(actions[:, :-1], ((0, 0), (1, 0)))  # [B, N]: slot i-1's choice; step 0 reads its start row 0
    embeddings = jax.vmap(lambda rows, choice: rows[choice])(params["choices"], previous.T)  # [N, B, C]
    first, *others = _layers(params, config)
    h = lstm(first, _project_choice(params, config, embeddings), _project_state(params, config, observation))
    for layer in others:
        h = lstm(layer, product(h, layer["kernel_in"]))
    if key is not None:
        h = Dropout(config.dropout).apply({}, h, False, rngs={"dropout": key})
    return jnp.einsum("nbh,nhk->bnk", h, params["heads"]["kernel"]) + params["heads"]["bias"][None]


def _decode(params, config: AutoregressiveConfig, spec: ActionSpec, observation, count, keys, pick):
    """Joint actions [count B, N], chosen slot by slot in one scan.

    pick(keys[i], logits [count B, 1, K], valid [1, K]) -> choice [count B, 1] of slot i.
    """
    first, *others = _layers(params, config)
    state = jnp.tile(_project_state(params, config, observation), (count, 1))
    carries = [blank_carry(layer, len(state)) for layer in (first, *others)]

    def step(carry, slot):
        previous, carries = carry
        embeddings, head, valid, key = slot
        after = [lstm_step(first, carries[0], state + _project_choice(params, config, embeddings[previous]))]
        for layer, before in zip(others, carries[1:], strict=True):
            after.append(lstm_step(layer, before, after[-1][0] @ layer["kernel_in"]))
        logits = after[-1][0] @ head["kernel"] + head["bias"][None]
        choice = pick(key, logits[:, None], valid[None])[:, 0]
        return (choice, after), choice

    slots = (params["choices"], params["heads"], jnp.asarray(spec.valid), keys)
    _, choices = jax.lax.scan(step, (jnp.zeros(len(state), jnp.int32), carries), slots)
    return choices.T
