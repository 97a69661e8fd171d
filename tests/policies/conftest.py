"""Every policy at a tiny size, and the joint space of the fixture spec enumerated."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies.autoregressive import AutoregressiveConfig, make_autoregressive
from spin_jax.policies.base import Policy
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.policies.spin import SPINConfig
from spin_jax.registry import POLICIES

SETTINGS = {  # a policy that is registered needs a line here
    "spin": SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=False),
    "spin_warm": SPINConfig(queries="mask", heads="asm", head_width=6, dropout=0.1, frozen_dropout=False),
    "saint": SAINTConfig(head_width=6, dropout=0.1),
    "factored": FactoredConfig(width=8, dropout=0.1),
    "autoregressive": AutoregressiveConfig(state_width=6, choice_width=4, lstm_width=8, num_layers=2, dropout=0.1),
}
SAMPLED = {"autoregressive"}  # slots depend on each other: expectations and supports come from draws
MAKERS = {"saint": make_saint, "factored": make_factored, "autoregressive": make_autoregressive}
MAKERS |= {name: entry.make for name, entry in POLICIES.items()}
METHODS = ("init", "log_prob", "sample", "mode", "expected_utility", "best_in_support", "choose")


class Made(NamedTuple):
    """A policy with its parameters (spread-out probabilities), and what it is."""

    plain: Policy  # not jitted
    policy: Policy  # jitted
    traces: list  # the name of a jitted method, each time that it is traced
    params: Any
    frozen: Any
    sampled: bool

    def __call__(self, method, observation, *args):
        """A jitted method of observation [B, S] and whatever comes after it."""
        x = self.policy.encode(self.frozen, observation)
        return getattr(self.policy, method)(self.params, self.frozen, x, *args)

    def joint_probabilities(self, observation, joint):
        """p of each joint action [J, N] in the state [1, S]: [J]."""
        return np.exp(self("log_prob", jnp.repeat(observation, len(joint), 0), jnp.asarray(joint), None))


@pytest.fixture(scope="session")
def make_one():
    """make_one(name, spec, asm_config, frozen) -> Made, for 5 features."""

    def make(name, spec, asm_config, frozen):
        plain, traces = MAKERS[name](spec, 5, asm_config, SETTINGS[name]), []

        def counted(method):
            def call(*args):
                traces.append(method)
                return getattr(plain, method)(*args)

            return jax.jit(call)

        policy = plain._replace(**{method: counted(method) for method in METHODS})
        params = policy.init(jax.random.key(0), frozen)
        rng, scale = np.random.default_rng(1), 0.8 if name in ("factored", "autoregressive") else 0.3
        params = jax.tree.map(lambda p: p + scale * rng.normal(size=p.shape).astype(np.float32), params)
        return Made(plain, policy, traces, params, frozen, name in SAMPLED)

    return make


@pytest.fixture(scope="session", params=sorted(MAKERS))
def made(request, spec, asm_config, asm_params, make_one) -> Made:
    """Every registered policy on the tiny ASM, in turn."""
    return make_one(request.param, spec, asm_config, asm_params)


@pytest.fixture(scope="session")
def observation():
    return jax.random.normal(jax.random.key(2), (1, 5))


@pytest.fixture(scope="session")
def joint(spec):
    """Every joint action [J, N] of the fixture spec."""
    return np.array(list(itertools.product(*map(range, spec.cardinalities))))


@pytest.fixture(scope="session")
def slot_probabilities():
    """p(a_i = k | prefix) [K] of slot i = len(prefix), from the probabilities of the joint actions alone."""

    def conditional(joint, probabilities, prefix, num_choices):
        i = len(prefix)
        fits = (joint[:, :i] == np.array(prefix, int)[None]).all(1)
        p = np.array([probabilities[fits & (joint[:, i] == k)].sum() for k in range(num_choices)])
        return p / p.sum()

    return conditional
