"""The behaviour policies' utility network (DecQN, Seyde et al. 2023): S -> one utility for each choice of each slot.

Dense 256 - LayerNorm - tanh, one residual block of width 256, ELU, linear head. Written against the array API that
numpy and jax share, so a shipped policy plays with numpy alone, in processes that never import JAX.
"""

from typing import Any

import numpy as np

from spin_jax.types import Array


def init_decqn(rng: np.random.Generator, num_features: int, num_slots: int, num_choices: int, width: int) -> dict:
    """Parameters of one critic: uniform fan-in kernels, the head uniform with fan-out scale 0.333; numpy float32."""

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
    """A critic for `bins` choices a slot out of one for fewer: utilities interpolated linearly between the old choices.

    Choices are equally spaced in [-1, 1], so the refined critic agrees with the old one wherever both have a choice.
    """
    old = params["head"]["bias"].size // num_slots
    position = np.linspace(0, old - 1, bins)
    weight = np.maximum(0, 1 - np.abs(position[None, :] - np.arange(old)[:, None])).astype(np.float32)  # [old, bins]

    def interpolate(head):
        return (np.asarray(head).reshape(-1, num_slots, old) @ weight).reshape(*head.shape[:-1], num_slots * bins)

    return params | {"head": {name: interpolate(value) for name, value in params["head"].items()}}
