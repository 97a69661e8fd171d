"""Rolls out behaviour policies in worker processes, in pieces that survive a kill."""

import itertools
import pathlib
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from spin_jax.collect.behaviour import Act
from spin_jax.collect.behaviours import BEHAVIOURS
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.errors import DataError
from spin_jax.record.files import replacing
from spin_jax.registry import ENVS
from spin_jax.types import Episode

PIECE = 20  # episodes played in lockstep and saved together; another number gives other episodes for a seed


def play_policy(envs: VectorEnv, act: Act, seeds: Sequence[int]) -> list[Episode]:
    """Plays one episode on every environment with a numpy policy, on one BLAS thread.

    At these sizes more threads only wait for each other (measured on two cores: 0.3 ms a call with one thread, 7-56 ms
    with two).
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return play_episodes(envs, lambda observation, _: act(observation), seeds)


class Environments:
    """environments(count) -> VectorEnv of one task; the last one is kept for reuse, as making one takes seconds."""

    def __init__(self, task: str, bins: int, num_workers: int):
        self.task, self.bins, self.num_workers = task, bins, num_workers
        self._envs: VectorEnv | None = None

    def __call__(self, count: int) -> VectorEnv:
        if self._envs is None or self._envs.num_envs != count:
            self.close()
            self._envs = VectorEnv(self.task, self.bins, count, self.num_workers, ENVS[self.task])
        return self._envs

    def close(self) -> None:
        if self._envs is not None:
            self._envs.close()
            self._envs = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def measure_speed(environments: Environments, episodes: int, epsilon: float, seconds: float = 2.0) -> float:
    """Transitions a second on one piece's environments; plays at most `seconds` and 100 steps of the last level.

    Environments whose episode has ended wait, as in the roll-out, and count no more. It changes no later episode: each
    starts from a reset with its own seed. Raises DataError if none is shipped.
    """
    task, level = environments.task, TASKS[environments.task].levels[-1]
    act = BEHAVIOURS[task].make(task, environments.bins, level, epsilon, np.random.default_rng(0))
    envs = environments(min(PIECE, episodes))
    with threadpool_limits(limits=1, user_api="blas"):
        seeds = [episode_seed(0, i) for i in range(envs.num_envs)]
        envs.step(act(envs.reset(seeds)))  # the first step touches everything once
        running, begin, steps, played = np.zeros(len(seeds), bool), time.monotonic(), 0, 0
        while steps < 100 and time.monotonic() - begin < seconds:
            if not running.any():
                observation, running = envs.reset(seeds), np.ones(len(seeds), bool)
            observation, _, _, last = envs.step(act(observation))
            steps, played = steps + 1, played + int(running.sum())
            running &= ~last
    return played / (time.monotonic() - begin)


def missing_pieces(directory: pathlib.Path, episodes: int) -> dict[int, int]:
    """{first episode: number of episodes} of the pieces that are not in `directory` yet."""
    counts = {start: min(PIECE, episodes - start) for start in range(0, episodes, PIECE)}
    return {start: count for start, count in counts.items() if not _piece(directory, start).exists()}


def roll_out(
    directory: pathlib.Path,
    environments: Environments,
    level: str,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
    on_episodes: Callable[[int], None],
) -> None:
    """Plays `episodes` episodes of a level into `directory`/NNNNNNN.npz; pieces that exist already are kept.

    The episodes depend only on (task, bins, level, epsilon, seed) and the weights, not on the number of workers.
    on_episodes(n) is called after every piece with the number of episodes done so far.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = missing_pieces(directory, episodes)
    done, task, levels = episodes - sum(missing.values()), environments.task, TASKS[environments.task].levels
    for start, count in missing.items():
        rng = np.random.default_rng([seed, levels.index(level), start])
        act = BEHAVIOURS[task].make(task, environments.bins, level, epsilon, rng)
        seeds = [episode_seed(seed * len(levels) + levels.index(level), start + i) for i in range(count)]
        _save(_piece(directory, start), play_policy(environments(count), act, seeds))
        done += count
        on_episodes(done)
    if not missing:
        on_episodes(done)


def read_pieces(directory: pathlib.Path) -> Iterator[Episode]:
    """The episodes that `roll_out` saved, in order; raises DataError, naming the file, on a damaged piece."""
    for path in sorted(directory.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                data = {name: arrays[name] for name in ("observation", "action", "reward", "length", "terminal")}
            bounds = np.concatenate([[0], np.cumsum(data["length"])])
            sizes = {name: len(data[name]) for name in data}
            need = {"observation": bounds[-1] + sizes["length"], "action": bounds[-1], "reward": bounds[-1]}
            if sizes | need != sizes or sizes["terminal"] != sizes["length"]:
                raise ValueError(f"its arrays have lengths that do not fit: {sizes}")
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is damaged and cannot be read ({error}). Delete it: the same command plays it again."
            ) from error
        for i, (a, b) in enumerate(itertools.pairwise(bounds)):
            rows = data["observation"][a + i : b + i + 1]
            yield Episode(rows, data["action"][a:b], data["reward"][a:b], bool(data["terminal"][i]))


def _piece(directory: pathlib.Path, start: int) -> pathlib.Path:
    return directory / f"{start:07d}.npz"


def _save(path: pathlib.Path, episodes: list[Episode]):
    with replacing(path) as file:
        np.savez(
            file,
            observation=np.concatenate([e.observation for e in episodes]),
            action=np.concatenate([e.action for e in episodes]),
            reward=np.concatenate([e.reward for e in episodes]),
            length=[len(e.reward) for e in episodes],
            terminal=[e.terminal for e in episodes],
        )
