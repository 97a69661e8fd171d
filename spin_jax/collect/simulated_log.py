"""The TFDS data sets of our own logs: the levels of a simulated task, rolled out from its behaviour policies.

Every task, number of bins and size is one configuration, with one split for each level. Mixed levels are TFDS split
expressions over those (`medium+expert`), so nothing is stored twice.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import time
from collections.abc import Iterable

import numpy as np
import tensorflow_datasets as tfds

from spin_jax.collect.behaviours import BEHAVIOURS
from spin_jax.collect.rollout import Environments, measure_speed, missing_pieces, read_pieces, roll_out
from spin_jax.data.cards import read_cards
from spin_jax.data.shards import EpisodeBuilder, serialised, write_shards
from spin_jax.envs.structured_names import LISTED, ByTask
from spin_jax.envs.tasks import DM_CONTROL, MAZES, TASKS
from spin_jax.errors import DataError
from spin_jax.record.lock import waiting
from spin_jax.record.progress import Progress, log
from spin_jax.types import Episode

PUBLISHED_EPISODES = 1000  # of each split in the published suite: 1M transitions
FIRST = "1.0.0"
VERSIONS = {"quadruped_walk": "1.1.0", "humanoid_stand": "1.1.0"}  # their behaviour policies were exchanged


@dataclasses.dataclass(kw_only=True)
class SimulatedConfig(tfds.core.BuilderConfig):
    """Task, bins, episodes per split, epsilon of random sub-actions, seed; the name has them all.

    A task that fixes the choices of its slots has no bins in its name. The version rises with a task's behaviour.
    """

    name: str = ""  # made from the rest
    task: str = "cheetah_run"
    bins: int = 3
    episodes: int = 1000
    epsilon: float = 0.05
    seed: int = 0

    def __post_init__(self):
        bins = f"-{self.bins}bins" if isinstance(TASKS[self.task].slots, int) else ""
        self.name = f"{self.task}{bins}-{self.episodes}episodes-eps{self.epsilon:g}-seed{self.seed}"
        self.version = VERSIONS.get(self.task, FIRST)


class SimulatedLog(EpisodeBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS is untyped
    """A log of a simulated task; the data set of a family of tasks is a subclass, and its docstring the description."""

    VERSION = tfds.core.Version(FIRST)  # a configuration has its own
    pieces: pathlib.Path  # where prepare() put the roll-outs

    def widths(self) -> tuple[int, int, bool]:
        """Those of the task; logs that are played have no propensities."""
        task = TASKS[self.builder_config.task]
        return task.num_features, task.num_slots, False

    def splits(self) -> dict[str, tuple[int, Iterable[Episode]]]:
        """The levels of the task."""
        levels, episodes = TASKS[self.builder_config.task].levels, self.builder_config.episodes
        return {level: (episodes, read_pieces(self.pieces / level)) for level in levels}


class FactorisedDmc(SimulatedLog):
    """Factorised DM Control (Beeson, Ireland, Montana, TMLR 2024), made by this project's own behaviour policies."""

    BUILDER_CONFIGS = [SimulatedConfig(task=name) for name in DM_CONTROL]


class MazeNavigation(SimulatedLog):
    """A point in a maze that actuators pull (Chandak et al., ICML 2019), made by a planner."""

    BUILDER_CONFIGS = [SimulatedConfig(task=name) for name in MAZES]


class StructuredProblem(SimulatedLog):
    """A ladder of states in which joint patterns of choices are right, made by a behaviour that knows them."""

    BUILDER_CONFIGS = [SimulatedConfig(task=LISTED)]


class TrafficSignals(SimulatedLog):
    """Traffic signals of a generated network in SUMO, made by rules."""

    BUILDER_CONFIGS = [SimulatedConfig(task="traffic")]


BUILDERS: ByTask[type[SimulatedLog]] = ByTask(
    {
        **dict.fromkeys(DM_CONTROL, FactorisedDmc),
        **dict.fromkeys(MAZES, MazeNavigation),
        LISTED: StructuredProblem,
        "traffic": TrafficSignals,
    }
)


def dataset_directory(data_dir: pathlib.Path, config: SimulatedConfig) -> pathlib.Path:
    """The directory of a configuration's prepared data set."""
    return data_dir / BUILDERS[config.task].name / config.name / str(config.version)


def prepare(data_dir: pathlib.Path, config: SimulatedConfig, num_workers: int) -> dict[str, dict]:
    """Makes the data set if it does not exist yet; returns the cards of its splits, which lie beside its shards.

    Calling it again resumes a killed call. It logs how long the roll-outs will take before it starts them. Raises
    DataError if the directory exists but holds no TFDS data set.
    """
    directory = dataset_directory(data_dir, config)
    pieces = data_dir / f".{BUILDERS[config.task].name}_pieces" / f"{config.name}-{config.version}"
    lock = data_dir / f".{BUILDERS[config.task].name}_{config.name}.lock"
    writable = os.access(data_dir, os.W_OK)
    # a call that was killed at its end has left its roll-outs or its lock beside a complete data set
    if not _is_complete(directory) or (writable and (pieces.exists() or lock.exists())):
        with waiting(lock, f"data: {directory}"):
            if not _is_complete(directory):
                _play(pieces, config, num_workers, directory)
                _write(data_dir, pieces, config)
            _remove(pieces)
    task, behaviour = TASKS[config.task], BEHAVIOURS[config.task]
    spec = task.spec(config.bins)

    def made_by(level):
        epsilon = {} if level == "random" else {"epsilon": config.epsilon}
        return behaviour.card(config.task, config.bins, level) | epsilon | {"seed": config.seed}

    return read_cards(directory, spec, task.num_features, made_by, save=os.access(directory, os.W_OK))


def _is_complete(directory: pathlib.Path) -> bool:
    """Whether the data set is there; raises DataError if something else is."""
    complete = (directory / "dataset_info.json").exists()
    if directory.exists() and not complete:
        raise DataError(
            f"{directory} is there but is not a TFDS data set (no dataset_info.json). Move it away, or point "
            f"--config.data.dir elsewhere."
        )
    return complete


def _play(pieces: pathlib.Path, config: SimulatedConfig, num_workers: int, directory: pathlib.Path):
    task = TASKS[config.task]
    left = sum(sum(missing_pieces(pieces / level, config.episodes).values()) for level in task.levels)
    if not left:
        return
    with Environments(config.task, config.bins, num_workers) as environments:
        speed = measure_speed(environments, config.episodes, config.epsilon)
        minutes = (task.episode_steps / speed + _encoding_seconds(config)) / 60  # an episode
        processes = f"{num_workers} processes" if num_workers else "this process alone"
        published = (
            f" (the published size, {PUBLISHED_EPISODES} episodes of each: about "
            f"{PUBLISHED_EPISODES * len(task.levels) * minutes:.0f} minutes)"
        )
        log.info(
            f"data: rolling out {left} episodes ({left * task.episode_steps} transitions; {config.episodes} episodes "
            f"of each of {', '.join(task.levels)}) with {processes} into {directory}: about {left * minutes:.1f} "
            f"minutes{published if task.references else ''}"
        )
        total = config.episodes * len(task.levels)
        with Progress(f"data: {config.task}", total, total - left, unit="episode") as progress:
            for i, level in enumerate(task.levels):

                def count(done: int, before: int = i * config.episodes) -> None:
                    progress.update(before + done)

                roll_out(
                    pieces / level,
                    environments,
                    level,
                    episodes=config.episodes,
                    epsilon=config.epsilon,
                    seed=config.seed,
                    on_episodes=count,
                )


def _encoding_seconds(config: SimulatedConfig) -> float:
    """Seconds that one episode takes on its way into a shard."""
    task = TASKS[config.task]
    observation = np.zeros((task.episode_steps + 1, task.num_features), np.float32)
    action = np.zeros((task.episode_steps, task.num_slots), np.int32)
    episode = Episode(observation, action, np.zeros(len(action), np.float32), terminal=False)
    begin = time.monotonic()
    serialised(episode)
    return time.monotonic() - begin


def _write(data_dir: pathlib.Path, pieces: pathlib.Path, config: SimulatedConfig):
    shards = max(1, config.episodes * TASKS[config.task].episode_steps // 100_000)
    make = BUILDERS[config.task]
    builder = make(data_dir=data_dir, config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    builder.pieces = pieces
    write_shards(builder, shards)


def _remove(pieces: pathlib.Path):
    """Removes roll-outs, and their folder if no other data set is being made."""
    shutil.rmtree(pieces, ignore_errors=True)
    with contextlib.suppress(OSError):
        pieces.parent.rmdir()
