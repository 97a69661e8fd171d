"""Evaluation in one compiled roll-out against the evaluator that steps environments on the host."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax import from_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.evaluation.evaluator import Evaluator
from spin_jax.evaluation.on_device import OnDeviceEvaluator
from spin_jax.training.seeds import ONE, Seeds
from spin_jax.types import identity_normaliser

ANGLES = 2 * np.pi * np.arange(5) / 5
WAY = np.array([(0.65, 0.15), (0.65, 0.9), (0.3, 0.88), (0.275, 0.475)], np.float32)


def _act(state, frozen, observation, key):
    """Goes from corner to corner; state: the share of sub-actions that are flipped, where actions are sampled."""
    del frozen
    x, y = observation[:, 0], observation[:, 1]
    early, outside = (y < 0.25) & (x < 0.6), (x > 0.5) & (y < 0.85)
    at = jnp.where(early, 0, jnp.where(outside, 1, jnp.where((x > 0.36) & (y > 0.8), 2, 3)))
    to = jnp.asarray(WAY)[at] - observation
    action = to @ jnp.stack([jnp.cos(ANGLES), jnp.sin(ANGLES)]).astype(jnp.float32) > 0
    return (action if key is None else action ^ jax.random.bernoulli(key, state, action.shape)).astype(jnp.int32)


def evaluator(kind, run_seeds, greedy, seeds=ONE):
    return kind(
        _act, (), identity_normaliser(2), "maze_5", 3,
        run_seeds=run_seeds, episodes=6, greedy=greedy, num_workers=0, seeds=seeds,
    )  # fmt: skip


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("run_seeds", [[4], [4, 9]])
def test_host_and_device_give_the_same_returns(run_seeds, greedy):
    """The same policy, seeds and sampling keys; returns differ between episodes and seeds."""
    seeds = Seeds(len(run_seeds))
    state = seeds.bundle([jnp.float32(0.3), jnp.float32(0.45)][: len(run_seeds)])
    found = []
    for kind in (Evaluator, OnDeviceEvaluator):
        with evaluator(kind, run_seeds, greedy, seeds) as evaluate:
            found.append(np.stack([score.returns for score in evaluate(7, state)]))
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert found[0].shape == (len(run_seeds), 6)
    assert found[0].max() > 90
    assert len(np.unique(found[0].round(3))) > 1


def test_later_steps_draw_other_actions_and_compile_nothing():
    with evaluator(OnDeviceEvaluator, [4], greedy=False) as evaluate:
        first, later, again = (evaluate(step, jnp.float32(0.3))[0].returns for step in (1, 2, 1))
        evaluate(3, jnp.float32(0.4))
        assert evaluate._roll_out._cache_size() == 1
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, later)


@pytest.mark.parametrize(("name", "kind"), [("maze", OnDeviceEvaluator), ("cheetah_run", Evaluator)])
def test_a_task_of_pure_functions_is_evaluated_on_the_device(name, kind, monkeypatch):
    monkeypatch.setattr("spin_jax.evaluation.evaluator.VectorEnv", lambda *_: None)
    run = build(resolve(importlib.import_module(f"configs.{name}").get_config("smoke")))
    learner = type("Learner", (), {"act": staticmethod(_act)})
    asms = [type("ASM", (), {"params": (), "normaliser": identity_normaliser(2)})]
    found = from_config.make_evaluator(run, learner, asms, ONE, [0], episodes=2, beside_training=False)
    assert type(found) is kind
