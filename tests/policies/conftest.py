"""Every policy at a tiny size, and the joint space of the fixture spec enumerated."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.policies.autoregressive import AutoregressiveConfig
from spin_jax.policies.base import Policy, encoded
from spin_jax.policies.cached import CachedConfig
from spin_jax.policies.decode import DecodeConfig
from spin_jax.policies.distill import DistillConfig, Student
from spin_jax.policies.factored import FactoredConfig
from spin_jax.policies.saint import SAINTConfig
from spin_jax.policies.spin import SPINConfig
from spin_jax.registry import POLICIES

DISTILLATION = {"steps": 1, "batch_size": 1, "learning_rate": 1e-3, "kl_weight": 1.0}
SETTINGS = {  # a policy that is registered needs a line here
    "spin": SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=False),
    "spin_warm": SPINConfig(queries="mask", heads="asm", head_width=6, dropout=0.1, frozen_dropout=False),
    "spin_cached": CachedConfig(heads="asm", head_width=6, dropout=0.1),
    "spin_distill": DistillConfig(width=8, heads="fresh", head_width=6, dropout=0.1, **DISTILLATION),
    "spin_decode": DecodeConfig(candidates=4, rounds=2, threshold=0.0, select="argmax", beta=1.0),
    "saint": SAINTConfig(head_width=6, dropout=0.1),
    "factored": FactoredConfig(width=8, dropout=0.1),
    "autoregressive": AutoregressiveConfig(state_width=6, choice_width=4, lstm_width=8, num_layers=2),
}
SAMPLED = {"autoregressive", "spin_decode"}  # slots depend on each other: expectations and supports come from draws
OWN_ORDER = {"spin_decode"}  # slots are chosen in another order than theirs, and the critics choose what is played
FLAT = {
    "autoregressive",
    "factored",
    "spin_warm",
    "spin_distill",
}  # nearly uniform at these sizes, so their parameters are moved further
METHODS = ("init", "log_prob", "sample", "mode", "expected_utility", "best_in_support", "choose", "probabilities")


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
        x = encoded(self.policy, self.frozen, observation)
        return getattr(self.policy, method)(self.params, self.frozen, x, *args)

    def joint_probabilities(self, observation, joint):
        """p of each joint action [J, N] in the state [1, S]: [J]."""
        return np.exp(self("log_prob", jnp.repeat(observation, len(joint), 0), jnp.asarray(joint), None))


@pytest.fixture(scope="session")
def make_one():
    """make_one(name, spec, asm_config, frozen) -> Made, for 5 features."""

    def make(name, spec, asm_config, frozen, settings=None):
        plain, traces = POLICIES[name].make(spec, asm_config, settings or SETTINGS[name]), []

        def counted(method):
            def call(*args):
                traces.append(method)
                return getattr(plain, method)(*args)

            return jax.jit(call)

        encode = plain.encode and jax.jit(plain.encode)
        policy = plain._replace(encode=encode, **{m: counted(m) for m in METHODS if getattr(plain, m)})
        params = policy.init(jax.random.key(0), frozen, jnp.zeros((1, 5)))
        rng, scale = np.random.default_rng(1), 0.8 if name in FLAT else 0.3
        params = jax.tree.map(lambda p: p + scale * rng.normal(size=p.shape).astype(np.float32), params)
        return Made(plain, policy, traces, params, frozen, name in SAMPLED)

    return make


@pytest.fixture(scope="session")
def named(spec, asm_config, asm_params, make_one):
    """named(name) -> Made: a registered policy on the tiny ASM, made once."""
    student = Student(spec.num_slots, 8, asm_config.body.width).init(jax.random.key(3), jnp.zeros((1, 5)))["params"]
    frozen = {"spin_distill": {"asm": asm_params, "student": student}}
    return functools.cache(lambda name: make_one(name, spec, asm_config, frozen.get(name, asm_params)))


@pytest.fixture(params=sorted(POLICIES))
def made(request, named) -> Made:
    """Every registered policy in turn."""
    return named(request.param)


@pytest.fixture(params=sorted(set(POLICIES) - OWN_ORDER))
def in_order(request, named) -> Made:
    """Every registered policy whose slots are chosen in their order or all at once."""
    return named(request.param)


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
