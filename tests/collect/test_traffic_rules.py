"""The rules of task traffic, on observations made by hand and in the simulator."""

import numpy as np
import pytest

from spin_jax.collect.behaviours import BEHAVIOURS
from spin_jax.collect.traffic_rules import fixed_time, longest_queue, pressure
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.traffic import AGE_SECONDS, TrafficEnv, view
from spin_jax.envs.vector import VectorEnv, play_episodes
from spin_jax.types import ActionSpec

SPEC = ActionSpec((3, 2))


def parts(waiting, ahead, now, seconds):
    """One observation of two signals: waiting and ahead of their 3 + 2 phases; the phase and its age of each."""
    phase = [np.arange(k) == at for k, at in zip(SPEC.cardinalities, now, strict=True)]
    return view(np.concatenate([waiting, ahead, *phase, np.array(seconds) / AGE_SECONDS])[None], SPEC)


@pytest.mark.parametrize(
    ("now", "seconds", "expected"),
    [((0, 0), (10, 10), (0, 0)), ((1, 0), (20, 10), (2, 0)), ((2, 1), (30, 20), (0, 0)), ((2, 1), (20, 10), (0, 1))],
)
def test_fixed_time_goes_through_the_phases_in_turn(now, seconds, expected):
    assert tuple(fixed_time(parts(np.zeros(5), np.zeros(5), now, seconds), SPEC)[0]) == expected


def test_longest_queue_takes_the_fullest_phase_and_stays_on_a_tie():
    waiting = [0.1, 0.5, 0.2, 0.3, 0.3]
    assert tuple(longest_queue(parts(waiting, np.ones(5), (0, 1), (10, 10)), SPEC)[0]) == (1, 1)
    assert tuple(longest_queue(parts(np.zeros(5), np.ones(5), (2, 1), (10, 10)), SPEC)[0]) == (2, 1)


def test_pressure_takes_the_queues_ahead_off():
    waiting, ahead = [0.1, 0.5, 0.2, 0.3, 0.3], [0.0, 0.5, 0.0, 0.0, 0.1]
    assert tuple(pressure(parts(waiting, ahead, (0, 1), (10, 10)), SPEC)[0]) == (2, 0)
    assert tuple(pressure(parts(np.zeros(5), np.zeros(5), (2, 1), (10, 10)), SPEC)[0]) == (2, 1)


@pytest.mark.parametrize("level", TASKS["traffic"].levels)
def test_every_level_stays_in_range_and_its_epsilon_is_the_share_of_random_sub_actions(level):
    """Within 4 sigma, against the same rule without randomness; 'random' is uniform whatever epsilon says."""
    task = TASKS["traffic"]
    spec, rng = task.spec(3), np.random.default_rng(0)
    observation = rng.random((4000, task.num_features)).astype(np.float32)
    make = BEHAVIOURS["traffic"].make
    exact, explored = (make("traffic", 3, level, e, np.random.default_rng(1))(observation) for e in (0.0, 0.3))
    for action in (exact, explored):
        assert action.shape == (4000, 9)
        assert (action >= 0).all()
        assert (action < np.array(spec.cardinalities)).all()
    if level == "random":
        assert len(np.unique(exact[:, 3])) == 6
        return
    share = 0.3 * (1 - 1 / np.array(spec.cardinalities))  # a random choice is the rule's own one in K times
    assert (abs((exact != explored).mean(0) - share) < 4 * np.sqrt(share * (1 - share) / 4000)).all()


def test_in_the_simulator_the_rules_rank_as_the_page_says(tmp_path, monkeypatch):
    """random < fixed_time < pressure < longest_queue in the return of one episode (docs/traffic.md)."""
    for name in ("sumo", "traci"):
        pytest.importorskip(name, reason="SUMO is not installed (extra traffic)")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    returns = []
    with VectorEnv("traffic", 3, 1, 0, TrafficEnv) as envs:
        for level in TASKS["traffic"].levels:
            act = BEHAVIOURS["traffic"].make("traffic", 3, level, 0.05, np.random.default_rng(0))
            returns += [play_episodes(envs, lambda observation, _, act=act: act(observation), [0])[0].reward.sum()]
    assert returns == sorted(returns)
    assert returns[0] < 5 * returns[-1]
