"""Several environments stepped together, inline or in worker processes, and whole episodes played on them.

Every episode has its own seed, so the number of workers never changes a result.
"""

import multiprocessing
from collections.abc import Callable, Sequence

import numpy as np

from spin_jax.envs.base import MakeEnv
from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.inline import InlineGroup
from spin_jax.envs.remote import RemoteGroup
from spin_jax.types import Episode


def episode_seed(*numbers: int) -> int:
    """The seed of an episode, from numbers such as (seed of the run, index of the episode).

    64 bits: two different tuples of numbers practically never get the same seed.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class VectorEnv:
    """`num_envs` environments of one task; the leading axis of all arrays is the environment.

    num_workers: processes that the environments are spread over; 0 steps them in this process. An exception in a worker
    is raised here with its text. A worker that is killed is started again and replays its running episodes. Use as a
    context manager, or call close().
    """

    def __init__(self, task: str, bins: int, num_envs: int, num_workers: int = 0, make_env: MakeEnv = DMControlEnv):
        self.num_envs = num_envs
        num_workers = min(num_workers, num_envs)
        self._slices = np.array_split(np.arange(num_envs), max(num_workers, 1))
        if num_workers:
            context = multiprocessing.get_context("spawn")
            groups = [RemoteGroup(context, task, bins, len(s), make_env) for s in self._slices]
            self._groups: Sequence[RemoteGroup | InlineGroup] = groups
        else:
            self._groups = [InlineGroup(task, bins, num_envs, make_env)]
        try:
            for group in self._groups:
                group.open()
        except BaseException:
            self.close()
            raise
        self.spec = self._groups[0].spec

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Reset all environments, environment i with seeds[i]; returns observations [num_envs, S]."""
        return np.concatenate(self._call("reset", [[seeds[i] for i in s] for s in self._slices]))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """action [num_envs, N] -> observation [num_envs, S]; reward, terminal, last [num_envs].

        An environment that has returned `last` then waits for its reset: it repeats its observation with reward 0.
        """
        results = self._call("step", [action[s] for s in self._slices])
        observation, reward, terminal, last = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return observation, reward, terminal, last

    def reset_one(self, index: int, seed: int) -> np.ndarray:
        """Reset environment `index` alone; returns its observation [S]."""
        group = next(g for g, s in enumerate(self._slices) if index in s)
        self._groups[group].send("reset_one", (int(index - self._slices[group][0]), seed))
        return self._groups[group].receive()

    def _call(self, method: str, arguments: list) -> list:
        for group, argument in zip(self._groups, arguments, strict=True):
            group.send(method, argument)
        return [group.receive() for group in self._groups]

    def close(self) -> None:
        for group in self._groups:
            group.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def play_episodes(
    envs: VectorEnv,
    act: Callable[[np.ndarray, int], np.ndarray],
    seeds: Sequence[int],
    on_step: Callable[[int], None] | None = None,
) -> list[Episode]:
    """Play one episode on every environment at once, with one batched `act` call a step.

    act(observation [B, S], step) -> action [B, N]; seeds: one for each environment; on_step(step) is called after each
    step. Environments that finish early wait: their observation is repeated and their action ignored.
    """
    observation = envs.reset(seeds)
    rows: list[list[tuple]] = [[] for _ in seeds]
    first, running, terminal, step = observation, np.ones(len(seeds), bool), np.zeros(len(seeds), bool), 0
    while running.any():
        action = np.asarray(act(observation, step))
        observation, reward, ended, last = envs.step(action)
        for i in np.flatnonzero(running):
            rows[i].append((observation[i], action[i], reward[i]))
        terminal |= ended & running
        running &= ~last
        step += 1
        if on_step:
            on_step(step)
    episodes = []
    for start, row, end in zip(first, rows, terminal, strict=True):
        following, actions, rewards = zip(*row, strict=True)
        episodes.append(
            Episode(np.stack([start, *following]), np.stack(actions).astype(np.int32), np.asarray(rewards), bool(end))
        )
    return episodes
