"""The online loop, for real, with a tiny budget."""

import dataclasses

import numpy as np
import pytest

from spin_jax.checkpoint import CheckpointStore
from spin_jax.collect.train_behaviour import BehaviourConfig, exploration_normaliser, train_behaviour
from spin_jax.data.statistics import RunningStatistics
from spin_jax.learners.decqn import DecQNConfig
from spin_jax.metrics import read_rows


def test_the_behaviour_policy_sees_every_feature_scaled():
    """numpy's mean and deviation; a constant feature is divided by 1e-3, as the shipped policies were trained."""
    rows = np.random.default_rng(0).normal([3.0, 5.0], [2.0, 0.0], (100, 2))
    statistics = RunningStatistics(2)
    statistics.add(rows)
    found = exploration_normaliser(statistics)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std, [rows[:, 0].std(), 1e-3], rtol=1e-6)
    assert found.clip == 10


@pytest.mark.slow
def test_training_keeps_checkpoints_and_goes_on_from_the_last(tmp_path):
    config = BehaviourConfig(
        num_frames=1600, num_envs=4, random_frames=400, batch_size=16, replay_frames=20_000,
        eval_every_frames=800, eval_episodes=1, learner=DecQNConfig(width=16),
    )  # fmt: skip
    train_behaviour("cheetah_run", 3, tmp_path, 0, config)
    store = CheckpointStore(tmp_path / "policies", keep=None)
    assert store.steps() == [800, 1600]
    assert store.record()["task"] == "cheetah_run"
    before = read_rows(tmp_path / "metrics.jsonl")
    train_behaviour("cheetah_run", 3, tmp_path, 0, dataclasses.replace(config, num_frames=2400))
    store = CheckpointStore(tmp_path / "policies", keep=None)
    assert store.steps() == [800, 1600, 2400]
    assert store.record()["statistics"]["count"] > store.record(1600)["statistics"]["count"]
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [800, 1600, 2400]
    assert rows[:2] == before  # nothing was done twice
    assert all(np.isfinite(row["td_loss"]) for row in rows)
