"""The utility network of the behaviour policies (DecQN, Seyde et al. 2023): S -> a utility of each choice of each slot.

Dense, LayerNorm, tanh; one residual block with LayerNorm; ELU; linear head. All hidden layers have the same width (256
by default). The code uses only functions that numpy and jax.numpy share. So a shipped policy plays with numpy alone,
in processes that never import JAX.
"""

from typing import Any

import numpy as np

from spin_jax.types import Array


def init_decqn(rng: np.random.Generator, num_features: int, num_slots: int, num_choices: int, width: int) -> dict:
    """Parameters of one critic, numpy float32: kernels uniform in +-sqrt(3 / fan-in), biases 0.

    The head's kernel is uniform in +-sqrt(3 * 0.333 / fan-out).
    """

    def dense(fan_in, fan_out, limit):
        return {
            "kernel": rng.uniform(-limit, limit, (fan_in, fan_out)).astype(np.float32),
            "bias": np.zeros(fan_out, np.float32),
        }

    def norm():
        return {"scale": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}

    heads = num_slots * num_choices
    return {
        "encoder": dense(num_features, width, (3 / num_features) ** 0.5),
        "encoder_norm": norm(),
        "hidden": dense(width, width, (3 / width) ** 0.5),
        "residual": dense(width, width, (3 / width) ** 0.5),
        "residual_norm": norm(),
        "head": dense(width, heads, (3 * 0.333 / heads) ** 0.5),
    }


def decqn_utilities(params: dict, observation: Array, num_slots: int, xp: Any = np) -> Array:
    """Utilities [B, N, K] of normalised observations [B, S]; xp is numpy or jax.numpy."""

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"][None, :]

    def norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / xp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
        return x * params[name]["scale"][None, :] + params[name]["bias"][None, :]

    x = xp.tanh(norm("encoder_norm", dense("encoder", observation)))
    x = norm("residual_norm", x + dense("residual", xp.maximum(dense("hidden", x), 0)))
    x = xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0)))
    return dense("head", x).reshape(x.shape[0], num_slots, -1)


def greedy(critics: list, observation: Array, num_slots: int, xp: Any = np) -> Array:
    """Per-slot argmax [B, N] of the mean of several critics' utilities; observation normalised [B, S]."""
    return sum(decqn_utilities(c, observation, num_slots, xp) for c in critics).argmax(-1)


def refine(params: dict, num_slots: int, bins: int) -> dict:
    """Turns a critic into one for `bins` choices a slot: utilities are interpolated linearly between the old choices.

    Choices are equally spaced in [-1, 1]. The new critic agrees with the old one on every choice that both have.
    """
    old = params["head"]["bias"].size // num_slots
    position = np.linspace(0, old - 1, bins)
    # weight of each old choice in each new one: 1 at the old choice, falling to 0 at its neighbours
    weight = np.maximum(0, 1 - np.abs(position[None, :] - np.arange(old)[:, None])).astype(np.float32)  # [old, bins]

    def interpolate(head):
        return (np.asarray(head).reshape(-1, num_slots, old) @ weight).reshape(*head.shape[:-1], num_slots * bins)

    return params | {"head": {name: interpolate(value) for name, value in params["head"].items()}}
