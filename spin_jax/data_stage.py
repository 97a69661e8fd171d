"""The data stage: make the configured data set where it is not there yet, and read it."""

import time

from spin_jax.collect.factorised_dmc import FactorisedConfig, dataset_directory, prepare
from spin_jax.config import RunConfig, data_dir, num_workers
from spin_jax.data.dataset import Dataset, load_dataset, mean_returns
from spin_jax.data.rlds import DataError
from spin_jax.envs.dm_control import TASKS
from spin_jax.metrics import watched
from spin_jax.types import ActionSpec
from spin_jax.workdir import Workdir


def factorised_config(run: RunConfig) -> FactorisedConfig:
    """The TFDS configuration that the section `data` asks for."""
    data = run.data
    return FactorisedConfig(task=run.task, bins=run.bins, episodes=data.episodes, epsilon=data.epsilon, seed=data.seed)


def make_data(run: RunConfig, workdir: Workdir) -> dict:
    """Roll out what is missing; the mean return of every stored split is recorded and returned."""
    begin = time.monotonic()
    directory = prepare(data_dir(run), factorised_config(run), num_workers(run.data.num_workers))
    summary = {"directory": str(directory), "data_returns": mean_returns(directory)}
    earlier = workdir.summary("data")
    seconds = earlier["seconds"] if earlier else time.monotonic() - begin
    return workdir.finish("data", summary | {"seconds": seconds})


def load_data(run: RunConfig) -> tuple[Dataset, ActionSpec]:
    """The configured level of the data set; raises DataError where it has not been made or cannot be trained on."""
    task, directory = TASKS[run.task], dataset_directory(data_dir(run), factorised_config(run))
    if not directory.is_dir():
        raise DataError(
            f"There is no data set at {directory}. Run --stage=data first, or point --config.data.dir "
            f"at the folder that holds factorised_dmc/."
        )
    spec = ActionSpec((run.bins,) * task.num_slots)
    dataset = load_dataset(
        directory,
        run.data.level,
        spec,
        task.num_features,
        run.data.normalise,
        mode=run.data.mode,
        block_episodes=run.data.block_episodes,
        watch=lambda episodes: watched(episodes, "data: reading", "episode"),
    )
    return dataset, spec
