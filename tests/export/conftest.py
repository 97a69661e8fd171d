"""Trained policies of every kind at a tiny size, made without training."""

import functools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.export.trained import Trained
from spin_jax.from_config import make_learner, make_policy
from spin_jax.frozen.load import frozen_like
from spin_jax.learners.base import state_like
from spin_jax.stages.interface import Interface
from spin_jax.types import Feature, Normaliser, Spaces, normalise

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
    "asm": dict(width=8, num_heads=2, num_blocks=1, ffn_mult=2, state_tokens=2, head_width=6),
    "spin": dict(head_width=6),
    "spin_cached": dict(head_width=6),
    "spin_distill": dict(head_width=6, width=8),
    "spin_decode": dict(candidates=4, rounds=2),
    "saint": dict(head_width=6),
    "factored": dict(width=8),
    "autoregressive": dict(state_width=6, choice_width=4, lstm_width=8, num_layers=2),
    "iql": dict(critic_width=8, value_width=8),
    "bcq": dict(critic_width=8),
    "eval": dict(num_workers=0),
}
ROWS = 256


@pytest.fixture(scope="session")
def make_config():
    """make_config(policy, learner, section__field=value) -> a resolved configuration with SIZES."""

    def make(policy, learner, **changes) -> ConfigDict:
        config = get_config("smoke")
        config.policy, config.learner = policy, learner
        for section, sizes in SIZES.items():
            config[section].update(sizes)
        config.update_from_flattened_dict({field.replace("__", "."): value for field, value in changes.items()})
        return resolve(config)

    return make


def randomly(like, seed):
    """Arrays like `like`; products count for more than biases, so that actions follow from the state."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        is_scale = "scale" in jax.tree_util.keystr(path)
        drawn = is_scale + (0.9 if x.ndim > 1 else 0.1) * rng.normal(size=x.shape)
        return (drawn if x.dtype.kind == "f" else np.zeros(x.shape)).astype(x.dtype)

    return jax.tree_util.tree_map_with_path(draw, like)


@pytest.fixture(scope="session")
def rows():
    """Raw observations [R, S], far from mean 0 and deviation 1; the last two features are one-hot."""
    rng = np.random.default_rng(5)
    numbers = rng.normal([50, 80, 3], [10, 5, 0.1], (ROWS, 3))
    ward = rng.integers(0, 2, ROWS)
    return np.column_stack([numbers, ward == 0, ward == 1]).astype(np.float32)


@pytest.fixture(scope="session")
def make_trained(spec, rows, make_config):
    """make_trained(policy, learner, section__field=value) -> Trained, for five features."""

    @functools.cache
    def make(name, learner="iql", **changes):
        run = build(make_config(name, learner, **changes))
        interface = Interface(SPACES, Normaliser(rows.mean(0), rows.std(0), np.float32(10)), "fingerprint")
        frozen = randomly(frozen_like(run, spec, 5), seed=2)
        found = make_learner(run, make_policy(run, spec), spec)
        state = randomly(state_like(found, frozen, interface.blank), seed=1)
        return Trained(run, found, state, frozen, interface, 7, rows)

    return make


@pytest.fixture(scope="session")
def played(rows):
    """played(trained, noise | None) -> actions [R, N] of the learner's own `act` on all rows."""

    def play(trained, noise):
        observation = normalise(trained.interface.normaliser, rows)
        act = jax.jit(lambda state, frozen, source: trained.learner.act(state, frozen, observation, source))
        return np.asarray(act(trained.state, trained.frozen, noise))

    return play
