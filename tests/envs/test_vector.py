"""Environments in lockstep: who finishes waits, workers change nothing, and their errors come through."""

import os
import pathlib
import signal

import numpy as np
import pytest

from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.errors import SimulatorError, UserError
from spin_jax.types import ActionSpec


class FakeEnv:
    """Terminates after 2 + seed % 3 steps, is cut by time after 4 where seed % 5 == 0; rewards are 1, 2, 3, …"""

    def __init__(self, task, bins):
        if task == "mendable":
            raise SimulatorError("install it")
        if task == "unmade":
            raise ValueError("no such fake")
        for left in list(pathlib.Path(task.removeprefix("dies ")).iterdir())[:1] if task.startswith("dies ") else ():
            left.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        self.task, self.spec, self.num_features = task, ActionSpec((bins,) * 2), 3

    def reset(self, seed):
        self.rng, self.seed, self.t = np.random.default_rng(seed), seed, 0
        return self.rng.normal(size=3).astype(np.float32)

    def step(self, action):
        if self.task == "broken" and self.t == 1:
            raise ZeroDivisionError("a joint came off")
        if self.task == "deadly":
            os._exit(3)
        self.t += 1
        cut = self.seed % 5 == 0
        last = self.t == (4 if cut else 2 + self.seed % 3)
        observation = self.rng.normal(size=3) + np.asarray(action).sum()
        return observation.astype(np.float32), float(self.t), last and not cut, last


SEEDS = [5, 1, 2, 3, 7]  # 4 steps to a time limit; terminations after 3, 4, 2, 3 steps


def act(observation, step):
    return (observation[:, :2] > step).astype(np.int64)


def play(seeds, num_workers=0, task="fake"):
    with VectorEnv(task, 3, len(seeds), num_workers, FakeEnv) as envs:
        return play_episodes(envs, act, seeds)


@pytest.fixture(scope="module")
def episodes():
    return play(SEEDS)


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_episodes_end_when_they_end(episodes):
    assert [len(e.reward) for e in episodes] == [4, 3, 4, 2, 3]
    assert [e.terminal for e in episodes] == [False, True, True, True, True]
    for e in episodes:
        assert len(e.observation) == len(e.action) + 1 == len(e.reward) + 1
        np.testing.assert_array_equal(e.reward, np.arange(1, len(e.reward) + 1))
        np.testing.assert_array_equal(e.action, [act(o[None], t)[0] for t, o in enumerate(e.observation[:-1])])
        assert [x.dtype for x in e[:3]] == [np.float32, np.int32, np.float32]


def test_an_episode_does_not_depend_on_its_neighbours(episodes):
    for seed, episode in zip(SEEDS, episodes, strict=True):
        assert_equal(play([seed]), [episode])


def test_workers_change_nothing(episodes):
    assert_equal(play(SEEDS, num_workers=2), episodes)


@pytest.mark.parametrize("step", [0, 2])
def test_a_worker_that_is_killed_is_replaced_and_nothing_changes(episodes, step):
    """Twice in one run, in two processes, the environments in the middle of their episodes or just reset."""
    with VectorEnv("fake", 3, len(SEEDS), 2, FakeEnv) as envs:

        def murderous_act(observation, t):
            if t in (step, step + 1):
                process = envs._groups[t % 2]._process
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            return act(observation, t)

        assert_equal(play_episodes(envs, murderous_act, SEEDS), episodes)
        assert_equal(play_episodes(envs, act, SEEDS), episodes)


@pytest.mark.parametrize("deaths", [1, 3])
def test_a_worker_that_is_killed_while_it_starts_is_replaced(episodes, deaths, tmp_path):
    """The environment kills its own worker as it is made, as often as there are files to remove."""
    for i in range(deaths):
        (tmp_path / str(i)).touch()
    assert_equal(play(SEEDS, num_workers=1, task=f"dies {tmp_path}"), episodes)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_always_dies_while_it_starts_is_an_error(tmp_path):
    for i in range(9):
        (tmp_path / str(i)).touch()
    with pytest.raises(RuntimeError, match=r"worker died 4 times \(exit code -9\)"):
        play(SEEDS, num_workers=1, task=f"dies {tmp_path}")


def test_workers_and_their_parent_share_memory_without_a_name():
    """Nothing can stay behind in /dev/shm, whoever is killed."""
    before = set(os.listdir("/dev/shm"))
    with VectorEnv("fake", 3, 4, 2, FakeEnv) as envs:
        envs.reset([1, 2, 3, 4])
        assert not [name for name in set(os.listdir("/dev/shm")) - before if not name.startswith("sem.")]


def test_a_worker_that_is_killed_remembers_single_resets():
    found = []
    for kill in (False, True):
        with VectorEnv("fake", 3, 2, 1, FakeEnv) as envs:
            envs.reset([5, 10])
            rows = [envs.step(np.ones((2, 2), int)), envs.reset_one(1, 20), envs.step(np.zeros((2, 2), int))]
            if kill:
                os.kill(envs._groups[0]._process.pid, signal.SIGKILL)
            rows += [envs.step(np.ones((2, 2), int)), envs.reset_one(0, 7)]
            found.append([np.asarray(x) for row in rows for x in row])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_finished_environment_waits_until_it_alone_is_reset(num_workers):
    with VectorEnv("fake", 3, 3, num_workers, FakeEnv) as envs:
        assert envs.spec == ActionSpec((3, 3))
        envs.reset([3, 5, 5])
        results = [envs.step(np.full((3, 2), t)) for t in range(3)]
        (_, *_), (at_end, reward, terminal, last), (after, waiting_reward, waiting_terminal, waiting_last) = results
        assert (list(reward), list(terminal), list(last)) == ([2, 2, 2], [True, False, False], [True, False, False])
        np.testing.assert_array_equal(after[0], at_end[0])
        assert (list(waiting_reward), list(waiting_last)) == ([0, 3, 3], [True, False, False])
        assert not np.array_equal(after[1], at_end[1])
        fresh = envs.reset_one(0, 9)
        np.testing.assert_array_equal(fresh, FakeEnv("fake", 3).reset(9))
        _, reward, _, last = envs.step(np.zeros((3, 2), int))
        assert (list(reward), list(last)) == ([1, 4, 4], [False, True, True])
        np.testing.assert_array_equal(envs.reset_one(2, 9), fresh)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("broken", "worker failed: ZeroDivisionError.*a joint came off"),
        ("unmade", "worker failed: ValueError.*no such fake"),
        ("deadly", r"worker died 4 times \(exit code 3\)"),
    ],
)
def test_a_workers_error_is_raised_with_its_text(task, text):
    with pytest.raises(RuntimeError, match=text):
        play([5], num_workers=1, task=task)


def test_an_error_that_the_user_can_mend_stays_one_in_a_worker():
    with pytest.raises(UserError, match="^install it$") as raised:
        play([5], num_workers=1, task="mendable")
    assert type(raised.value) is SimulatorError


def test_episode_seeds_differ_for_every_pair():
    assert len({episode_seed(s, i) for s in range(50) for i in range(50)}) == 2500
    assert episode_seed(1, 2) != episode_seed(2, 1)


@pytest.fixture(scope="module")
def cheetah():
    return DMControlEnv("cheetah_run", 3)


def test_the_same_seed_is_the_same_episode(cheetah):
    def roll(seed):
        rows = [cheetah.reset(seed)]
        for t in range(20):
            observation, reward, terminal, last = cheetah.step(np.full(6, t % 3))
            assert (terminal, last) == (False, False)
            rows += [observation, np.float32(reward)]
        return np.concatenate([np.ravel(r) for r in rows])

    np.testing.assert_array_equal(roll(3), roll(3))
    assert not np.allclose(roll(3), roll(4), rtol=1e-3)


def test_cheetah_run_has_its_published_widths(cheetah):
    task = TASKS["cheetah_run"]
    assert (task.num_features, task.num_slots) == (17, 6)
    observation = cheetah.reset(0)
    assert (observation.shape, observation.dtype) == ((17,), np.float32)
    assert cheetah.spec == ActionSpec((3,) * 6)
    np.testing.assert_array_equal(cheetah._values, [-1, 0, 1])


def test_an_episode_of_cheetah_run_is_a_thousand_steps_cut_by_time(cheetah):
    cheetah.reset(0)
    ends = [cheetah.step(np.ones(6, int))[2:] for _ in range(1000)]
    assert ends == [(False, False)] * 999 + [(False, True)]


def test_unknown_task_and_too_few_bins_are_refused():
    with pytest.raises(ValueError, match="Unknown task 'cheetah'; known tasks: cheetah_run, dog_trot"):
        DMControlEnv("cheetah", 3)
    with pytest.raises(ValueError, match="bins must be at least 2, got 1"):
        DMControlEnv("cheetah_run", 1)
