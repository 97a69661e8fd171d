"""The data stage: makes or imports the configured data set if it does not exist yet, and reads it."""

import functools
import pathlib
import time

import numpy as np
import tensorflow_datasets as tfds

from spin_jax.collect.simulated_log import SimulatedConfig, dataset_directory, prepare
from spin_jax.config.sections import RunConfig
from spin_jax.data.card import card_table
from spin_jax.data.cards import check_shards, is_suite_import, read_card, read_cards
from spin_jax.data.dataset import Dataset, load_dataset, split_expression
from spin_jax.data.rlds import EpisodeSource, open_data_set
from spin_jax.data.spaces import read_spaces
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import DataError
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.logs.import_table import import_table
from spin_jax.record.progress import log, watched
from spin_jax.record.workdir import Workdir
from spin_jax.types import ActionSpec, Spaces, numbered_spaces


def simulated_config(run: RunConfig) -> SimulatedConfig:
    """The TFDS configuration that the section `data` asks for."""
    data = run.data
    return SimulatedConfig(task=run.task, bins=run.bins, episodes=data.episodes, epsilon=data.epsilon, seed=data.seed)


def make_data(run: RunConfig, workdir: Workdir) -> dict:
    """Rolls out missing episodes, or imports config.data.path if it is no data set yet, and logs the splits' cards.

    Records and returns the summary, with the mean return of every stored split.
    """
    begin = time.monotonic()
    directory = directory_of(run)
    if run.data.path:
        spaces = spaces_of(run)
        cards = read_cards(directory, spaces.spec, spaces.num_features)
    else:
        cards = prepare(run.data_dir, simulated_config(run), run.data.num_workers)
    log.info(f"data: {directory}\n{card_table(cards)}")
    returns = {split: card["return_mean"] for split, card in cards.items()}
    earlier = workdir.summary("data")
    seconds = earlier["seconds"] if earlier else time.monotonic() - begin
    return workdir.finish("data", {"directory": str(directory), "data_returns": returns, "seconds": seconds})


def directory_of(run: RunConfig) -> pathlib.Path:
    """The directory of the configured data set: config.data.path, what was imported from it, or our own.

    Raises DataError if config.data.path can be neither read nor imported.
    """
    if not run.data.path:
        if not run.simulated:
            raise DataError("Name your log: --config.data.path=FILE_OR_DIRECTORY (Parquet, CSV, npz, Minari, RLDS).")
        return dataset_directory(run.data_dir, simulated_config(run))
    path = pathlib.Path(run.data.path).expanduser().absolute()
    if run.simulated:
        return path
    columns = run.data.columns
    read = [path, *([pathlib.Path(columns.choices).expanduser()] if columns.choices else [])]
    return _imported(path, columns, run.data_dir, _stamps(*read))


def _stamps(*paths: pathlib.Path) -> tuple:
    """What changes with the content of files, or of the files in directories: their names, times and sizes."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


@functools.cache
def _imported(path: pathlib.Path, columns: ColumnConfig, data_dir: pathlib.Path, stamps: tuple) -> pathlib.Path:
    return import_table(path, columns, data_dir)


def spaces_of(run: RunConfig) -> Spaces:
    """Features, slots and choices: those of the task or, of a log of one's own, those that its data set names.

    A data set without spaces.json is read through, in all of its splits, for the largest choice of each slot.
    """
    if run.simulated:
        task = TASKS[run.task]
        return numbered_spaces(task.num_features, task.spec(run.bins))
    directory = directory_of(run)
    return read_spaces(directory) or _counted_spaces(directory, _stamps(directory))


@functools.cache
def _counted_spaces(directory: pathlib.Path, stamps: tuple) -> Spaces:
    episodes = EpisodeSource(str(directory), "+".join(open_data_set(str(directory)).info.splits))
    largest = np.max(
        [episode.action.max(0) for episode in watched(episodes, "data: counting choices", "episode")], axis=0
    )
    return numbered_spaces(episodes[0].observation.shape[1], ActionSpec(tuple(int(k) + 1 for k in largest)))


def _expression(run: RunConfig) -> str:
    """The TFDS split expression of the configured level."""
    return (
        run.data.level if run.data.path else split_expression(run.data.level, run.data.episodes, TASKS[run.task].levels)
    )


def expected_transitions(run: RunConfig) -> int:
    """Number of transitions to train on of the configured level, also for a data set that is not made yet.

    Raises DataError, as `EpisodeSource` does, if an existing data set does not have the level.
    """
    return round(_expected_episodes(run) * (1 - run.data.held_out) * episode_steps(run))


def episode_steps(run: RunConfig) -> float:
    """Steps of an episode: the task's or, in a log of one's own, their mean."""
    if run.simulated:
        return TASKS[run.task].episode_steps
    card = read_card(directory_of(run), "train")
    if card is not None:
        return card["transitions"] / card["episodes"]
    some = EpisodeSource(str(directory_of(run)), run.data.level)
    return float(np.mean([len(some[i].reward) for i in range(min(len(some), 100))]))


def _expected_episodes(run: RunConfig) -> int:
    data, directory = run.data, directory_of(run)
    if data.path or directory.is_dir():
        return len(EpisodeSource(str(directory), _expression(run)))
    whole = tfds.core.SplitInfo(name="", shard_lengths=[data.episodes], num_bytes=0, filename_template=None)
    parts = tfds.core.ReadInstruction.from_spec(_expression(run))
    parts = parts.to_absolute(dict.fromkeys(TASKS[run.task].levels, whole))
    return sum((data.episodes if p.to is None else p.to) - (p.from_ or 0) for p in parts)


def load_data(run: RunConfig, devices: int = 1) -> Dataset:
    """The configured level of the data set; raises DataError if it does not exist or cannot be trained on.

    devices: accelerators among which its rows may be divided.
    """
    spaces, data, directory = spaces_of(run), run.data, directory_of(run)
    if not data.path and not directory.is_dir():
        raise DataError(
            f"There is no data set at {directory}. Run --stage=data first, or point --config.data.dir "
            f"at the folder that holds {directory.parents[1].name}/."
        )
    check_shards(directory, _expression(run))
    return load_dataset(
        directory,
        _expression(run),
        spaces.spec,
        spaces.num_features,
        data.normalise,
        held_out=data.held_out,
        terminals=data.done == "terminal" or not is_suite_import(directory),
        mode=data.mode,
        block_episodes=data.block_episodes,
        n_step=run.train.n_step,
        gamma=run.learner_config.discount,
        devices=devices,
        watch=lambda episodes: watched(episodes, "data: reading", "episode"),
    )
