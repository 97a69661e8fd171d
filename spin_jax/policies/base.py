"""What a policy is, and how logits make one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from spin_jax.models import categorical
from spin_jax.types import ActionSpec


class Policy(NamedTuple):
    """A stochastic policy over joint actions as pure functions; `frozen` is never differentiated (the ASM's arrays).

    init(key, frozen) -> params
    log_prob(params, frozen, observation [B, S], actions [B, N], key | None) -> [B]; a key switches dropout on
    sample(params, frozen, observation [B, S], key) -> [B, N] int32, without dropout
    mode(params, frozen, observation [B, S]) -> [B, N] int32, the most probable joint action
    """

    init: Callable[[jax.Array, Any], Any]
    log_prob: Callable[..., jax.Array]
    sample: Callable[..., jax.Array]
    mode: Callable[..., jax.Array]


def factored_policy(spec: ActionSpec, init: Callable, logits: Callable) -> Policy:
    """pi(a|s) = prod_i pi(a_i|s) from logits(params, frozen, observation, key | None) -> [B, N, K]."""
    valid = spec.valid

    def log_prob(params, frozen, observation, actions, key=None):
        return categorical.log_prob(logits(params, frozen, observation, key), actions, valid)

    def sample(params, frozen, observation, key):
        return categorical.sample(key, logits(params, frozen, observation, None), valid)

    def mode(params, frozen, observation):
        return categorical.mode(logits(params, frozen, observation, None), valid)

    return Policy(init, log_prob, sample, mode)
