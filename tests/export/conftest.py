"""Trained policies of every kind at a tiny size, made without training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.export.trained import Trained
from spin_jax.from_config import make_learner, make_policy
from spin_jax.learners.bcq import BCQConfig
from spin_jax.models.asm import ASM
from spin_jax.policies.distill import Student
from spin_jax.stages.interface import Interface
from spin_jax.types import Feature, Normaliser, Spaces

SPACES = Spaces(  # the slots of the fixture `spec`
    features=(
        Feature("age"),
        Feature("pulse", item=0),
        Feature("pulse", item=1),
        Feature("ward", category="A"),
        Feature("ward", category="B"),
    ),
    slots=("drug", "dose", "visit"),
    choices=(("none", "aspirin"), (0, 10, 20), (False, True)),
)
SIZES = {
    "asm": dict(width=8, num_heads=2, num_blocks=2, ffn_mult=2, state_tokens=2, head_width=6),
    "spin": dict(head_width=6),
    "spin_cached": dict(head_width=6),
    "spin_distill": dict(head_width=6, width=8),
    "spin_decode": dict(candidates=4, rounds=2),
    "saint": dict(head_width=6),
    "factored": dict(width=8),
    "autoregressive": dict(state_width=6, choice_width=4, lstm_width=8, num_layers=2),
}
ROWS = 300


@pytest.fixture(scope="session")
def rows():
    """Raw observations [R, S], far from mean 0 and deviation 1; the last two features are one-hot."""
    rng = np.random.default_rng(5)
    numbers = rng.normal([50, 80, 3], [10, 5, 0.1], (ROWS, 3))
    ward = rng.integers(0, 2, ROWS)
    return np.column_stack([numbers, ward == 0, ward == 1]).astype(np.float32)


@pytest.fixture(scope="session")
def make_trained(spec, rows):
    """make_trained(policy, learner, **{section.field: value}) -> Trained, with random parameters far from uniform."""

    @functools.cache
    def make(name, learner="iql", **changes):
        config = get_config("smoke")
        config.policy, config.learner = name, learner
        for section, sizes in SIZES.items():
            config[section].update(sizes)
        config.iql.critic_width = config.bcq.critic_width = 8
        config.update_from_flattened_dict({field.replace("__", "."): value for field, value in changes.items()})
        run = build(resolve(config))
        normaliser = Normaliser(rows.mean(0), rows.std(0), np.float32(10))
        interface, key, blank = Interface(SPACES, normaliser, "fingerprint"), jax.random.key(0), jnp.zeros((1, 5))
        frozen = jax.jit(ASM(spec, run.asm.model).init)(key, blank, jnp.zeros((1, 3), int))["params"]
        if name == "spin_distill":
            student = Student(3, run.policy_config.width, 8).init(key, blank)["params"]
            frozen = {"asm": frozen, "student": student}
        found = make_learner(run, make_policy(run, spec), spec)
        state = jax.jit(found.init)(key, frozen, blank)
        rng = np.random.default_rng(1)
        state, frozen = jax.tree.map(
            lambda x: x + 0.4 * rng.normal(size=x.shape).astype(np.float32) if x.dtype == jnp.float32 else x,
            (state, frozen),
        )
        return Trained(run, found, state, frozen, interface, 7, rows)

    return make


def with_threshold(trained, threshold):
    """The policy of a BCQ learner with another threshold."""
    assert isinstance(trained.run.learner_config, BCQConfig)
    return dataclasses.replace(trained.run.learner_config, threshold=threshold)
