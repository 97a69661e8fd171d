"""The online loop, for real, with a tiny budget."""

import dataclasses

import numpy as np
import pytest

from spin_jax.collect.behaviour_config import BehaviourConfig, with_settings
from spin_jax.collect.behaviour_training import Training, exploration_normaliser, read_record
from spin_jax.collect.humanoid_lesson import HumanoidLesson
from spin_jax.collect.replay import Replay
from spin_jax.collect.train_behaviour import train_behaviour
from spin_jax.data.statistics import RunningStatistics
from spin_jax.envs.tasks import EPISODE_STEPS
from spin_jax.envs.vector import episode_seed
from spin_jax.errors import CheckpointError, ConfigError
from spin_jax.learners.decqn import DecQNConfig
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import read_rows

TINY = BehaviourConfig(
    num_frames=1600, num_envs=4, random_frames=400, batch_size=16, replay_frames=20_000,
    eval_every_frames=800, eval_episodes=1, learner=DecQNConfig(width=16),
)  # fmt: skip


def test_settings_replace_fields_with_their_types():
    config = with_settings(BehaviourConfig(), ["explore=0.4", "learner.target=min", "batch_size=64"])
    assert config == dataclasses.replace(
        BehaviourConfig(), explore=0.4, batch_size=64, learner=DecQNConfig(target="min")
    )


@pytest.mark.parametrize("setting", ["explor=0.4", "explore", "learner=3", "learner.size=3", "other.width=3"])
def test_an_unknown_setting_is_named_with_the_known_ones(setting):
    with pytest.raises(ValueError, match=f"--set={setting}: write NAME=VALUE, NAME one of num_frames, .*learner.width"):
        with_settings(BehaviourConfig(), [setting])


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
    train_behaviour(Training("cheetah_run", 3, tmp_path, 0, TINY))
    store = CheckpointStore(tmp_path / "policies", keep=None)
    assert store.steps() == [800, 1600]
    assert store.record()["task"] == "cheetah_run"
    before = read_rows(tmp_path / "metrics.jsonl")
    train_behaviour(Training("cheetah_run", 3, tmp_path, 0, dataclasses.replace(TINY, num_frames=2400)))
    store = CheckpointStore(tmp_path / "policies", keep=None)
    assert store.steps() == [800, 1600, 2400]
    assert store.record()["statistics"]["count"] > store.record(1600)["statistics"]["count"]
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [800, 1600, 2400]
    assert rows[:2] == before  # nothing was done twice
    assert all(np.isfinite(row["td_loss"]) for row in rows)


@pytest.mark.slow
def test_humanoid_stand_learns_in_lessons_and_is_judged_by_the_task(tmp_path):
    """A lesson with the same seed and actions is the oracle of the replay; the greedy returns are of 1000 steps."""
    config = dataclasses.replace(TINY, num_frames=800, replay_frames=100_000)  # no episode is overwritten
    train_behaviour(Training("humanoid_stand", 3, tmp_path, 0, config))
    replay = Replay(tmp_path / "replay", config.replay_frames, config.num_envs, EPISODE_STEPS, (67, 21))
    assert replay.size == 800
    lesson = HumanoidLesson("humanoid_stand", 3)
    for i in range(config.num_envs):
        np.testing.assert_array_equal(replay.observation[i, 0], lesson.reset(episode_seed(0, i)))
        steps = range(replay.length[i])
        rewards = [lesson.step(replay.action[i, t])[1] for t in steps]
        np.testing.assert_allclose(replay.reward[i, : len(steps)], rewards, rtol=1e-6)
        assert max(rewards) > 0
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    assert row["greedy_return"] < 0.05 * EPISODE_STEPS


@pytest.mark.slow
def test_the_end_is_kept_and_other_settings_are_told(tmp_path, caplog):
    short = dataclasses.replace(TINY, num_frames=1000)
    train_behaviour(Training("cheetah_run", 3, tmp_path, 0, short))
    assert CheckpointStore(tmp_path / "policies", keep=None).steps() == [800, 1000]
    with caplog.at_level("INFO"):
        Training("cheetah_run", 3, tmp_path, 0, short)
        assert caplog.messages[-1] == f"Resuming from frame 1000 in {tmp_path}."
        Training("cheetah_run", 3, tmp_path, 7, dataclasses.replace(short, gamma=0.5))
    changed = "with other settings from here on: gamma 0.5 (was 0.99), seed 7 (was 0)"
    assert caplog.messages[-1] == f"Resuming from frame 1000 in {tmp_path} {changed}."
    with pytest.raises(ConfigError, match="holds cheetah_run with 3 bins: use another --workdir for finger_spin"):
        Training("finger_spin", 3, tmp_path, 0, short)


def test_a_checkpoint_of_something_else_is_named(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(5, {"a": np.zeros(2)}, {"task": "cheetah_run", "epoch": 3})
    with pytest.raises(CheckpointError, match=rf"{tmp_path} is damaged: it has no bins. Name the workdir of a run of"):
        read_record(store)


@pytest.mark.slow
def test_a_run_with_more_bins_starts_from_one_with_fewer(tmp_path):
    config = dataclasses.replace(TINY, num_frames=800)
    train_behaviour(Training("finger_spin", 3, tmp_path / "coarse", 0, config))
    train_behaviour(Training("finger_spin", 5, tmp_path / "fine", 0, config, tmp_path / "coarse"))
    coarse, fine = (CheckpointStore(tmp_path / name / "policies", keep=None).record() for name in ("coarse", "fine"))
    assert (coarse["started_from"], fine["started_from"]) == (None, {"bins": 3, "frame": 800})
    assert fine["statistics"]["count"] == 2 * coarse["statistics"]["count"]
    with pytest.raises(CheckpointError, match="holds finger_spin with 5 bins, not finger_spin with fewer"):
        train_behaviour(Training("finger_spin", 3, tmp_path / "back", 0, config, tmp_path / "fine"))
