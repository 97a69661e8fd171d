"""The data stage: makes the configured data set if it does not exist yet, and reads it."""

import pathlib
import time

import tensorflow_datasets as tfds

from spin_jax.collect.simulated_log import SimulatedConfig, dataset_directory, prepare
from spin_jax.config.sections import RunConfig
from spin_jax.data.card import card_table
from spin_jax.data.cards import is_suite_import, read_cards
from spin_jax.data.dataset import Dataset, load_dataset, split_expression
from spin_jax.data.rlds import EpisodeSource
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import DataError
from spin_jax.record.progress import log, watched
from spin_jax.record.workdir import Workdir


def simulated_config(run: RunConfig) -> SimulatedConfig:
    """The TFDS configuration that the section `data` asks for."""
    data = run.data
    return SimulatedConfig(task=run.task, bins=run.bins, episodes=data.episodes, epsilon=data.epsilon, seed=data.seed)


def make_data(run: RunConfig, workdir: Workdir) -> dict:
    """Rolls out missing episodes (none if config.data.path names a data set) and logs the cards of the splits.

    Records and returns the summary, with the mean return of every stored split.
    """
    begin = time.monotonic()
    task, directory = TASKS[run.task], directory_of(run)
    if run.data.path:
        cards = read_cards(directory, task.spec(run.bins), task.num_features)
    else:
        cards = prepare(run.data_dir, simulated_config(run), run.data.num_workers)
    log.info(f"data: {directory}\n{card_table(cards)}")
    returns = {split: card["return_mean"] for split, card in cards.items()}
    earlier = workdir.summary("data")
    seconds = earlier["seconds"] if earlier else time.monotonic() - begin
    return workdir.finish("data", {"directory": str(directory), "data_returns": returns, "seconds": seconds})


def directory_of(run: RunConfig) -> pathlib.Path:
    """The directory of the configured data set: config.data.path, or that of our own in config.data.dir."""
    if run.data.path:
        return pathlib.Path(run.data.path).expanduser().absolute()
    return dataset_directory(run.data_dir, simulated_config(run))


def _expression(run: RunConfig) -> str:
    """The TFDS split expression of the configured level."""
    return (
        run.data.level if run.data.path else split_expression(run.data.level, run.data.episodes, TASKS[run.task].levels)
    )


def expected_transitions(run: RunConfig) -> int:
    """Number of transitions to train on of the configured level, also for a data set that is not made yet.

    Raises DataError, as `EpisodeSource` does, if an existing data set does not have the level.
    """
    return round(_expected_episodes(run) * (1 - run.data.held_out) * TASKS[run.task].episode_steps)


def _expected_episodes(run: RunConfig) -> int:
    data, directory = run.data, directory_of(run)
    if data.path or directory.is_dir():
        return len(EpisodeSource(str(directory), _expression(run)))
    whole = tfds.core.SplitInfo(name="", shard_lengths=[data.episodes], num_bytes=0, filename_template=None)
    parts = tfds.core.ReadInstruction.from_spec(_expression(run))
    parts = parts.to_absolute(dict.fromkeys(TASKS[run.task].levels, whole))
    return sum((data.episodes if p.to is None else p.to) - (p.from_ or 0) for p in parts)


def load_data(run: RunConfig) -> Dataset:
    """The configured level of the data set; raises DataError if it does not exist or cannot be trained on."""
    task, data, directory = TASKS[run.task], run.data, directory_of(run)
    if not data.path and not directory.is_dir():
        raise DataError(
            f"There is no data set at {directory}. Run --stage=data first, or point --config.data.dir "
            f"at the folder that holds {directory.parents[1].name}/."
        )
    return load_dataset(
        directory,
        _expression(run),
        task.spec(run.bins),
        task.num_features,
        data.normalise,
        held_out=data.held_out,
        terminals=data.done == "terminal" or not is_suite_import(directory),
        mode=data.mode,
        block_episodes=data.block_episodes,
        n_step=run.train.n_step,
        gamma=run.learner_config.discount,
        watch=lambda episodes: watched(episodes, "data: reading", "episode"),
    )
