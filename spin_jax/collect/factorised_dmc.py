"""The TFDS data sets `factorised_dmc`: the suite's levels, rolled out from the shipped behaviour policies.

One configuration a task, number of bins and size; splits `random`, `medium`, `expert`. Mixed levels are TFDS split
expressions over those (`medium+expert`), so nothing is stored twice.
"""

import contextlib
import dataclasses
import io
import pathlib
import shutil

import tensorflow_datasets as tfds

from spin_jax.collect.behaviour_policy import LEVELS
from spin_jax.collect.rollout import read_pieces, roll_out
from spin_jax.data.rlds import DataError, rlds_features, to_rlds
from spin_jax.envs.dm_control import EPISODE_STEPS, TASKS
from spin_jax.metrics import Progress, log


@dataclasses.dataclass(kw_only=True)
class FactorisedConfig(tfds.core.BuilderConfig):
    """task, bins, episodes a split, epsilon of random sub-actions (medium, expert), seed; all of it is in the name."""

    name: str = ""  # made from the rest
    task: str = "cheetah_run"
    bins: int = 3
    episodes: int = 1000
    epsilon: float = 0.05
    seed: int = 0

    def __post_init__(self):
        self.name = f"{self.task}-{self.bins}bins-{self.episodes}episodes-eps{self.epsilon:g}-seed{self.seed}"


class FactorisedDmc(tfds.core.GeneratorBasedBuilder):
    """Factorised DM Control (Beeson, Ireland, Montana, TMLR 2024), made by this project's own behaviour policies."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [FactorisedConfig(task=name) for name in TASKS]
    pieces: pathlib.Path | None = None  # where prepare() put the roll-outs

    def _info(self) -> tfds.core.DatasetInfo:
        task = TASKS[self.builder_config.task]
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__class__.__doc__,
            features=rlds_features(task.num_features, task.num_slots),
            disable_shuffling=True,  # episodes keep their order: episode i of a split is the same in every reading
        )

    def _split_generators(self, dl_manager):
        return {level: self._generate_examples(level) for level in LEVELS}

    def _generate_examples(self, level):
        for i, episode in enumerate(read_pieces(self.pieces / level)):
            yield i, {"steps": to_rlds(episode)}


def dataset_directory(data_dir: pathlib.Path, config: FactorisedConfig) -> pathlib.Path:
    """Where the prepared data set of a configuration is."""
    return data_dir / "factorised_dmc" / config.name / str(FactorisedDmc.VERSION)


def prepare(data_dir: pathlib.Path, config: FactorisedConfig, num_workers: int) -> pathlib.Path:
    """Make the data set where it is not there yet, and return its directory; a killed call goes on where it was."""
    directory = dataset_directory(data_dir, config)
    if (directory / "dataset_info.json").exists():
        return directory
    if directory.exists():
        raise DataError(
            f"{directory} is there but is not a TFDS data set (no dataset_info.json). Move it away, or point "
            f"--config.data.dir elsewhere."
        )
    pieces = data_dir / ".factorised_dmc_pieces" / config.name
    total = config.episodes * len(LEVELS)
    log.info(f"data: rolling out {config.episodes} episodes of each of {', '.join(LEVELS)} into {directory}")
    with Progress(f"data: {config.task}", total, unit="episode") as progress:
        for i, level in enumerate(LEVELS):
            roll_out(
                pieces / level,
                config.task,
                config.bins,
                level,
                episodes=config.episodes,
                epsilon=config.epsilon,
                seed=config.seed,
                num_workers=num_workers,
                on_episodes=lambda done, before=i * config.episodes: progress.update(before + done),
            )
    shards = max(1, config.episodes * EPISODE_STEPS // 100_000)
    builder = FactorisedDmc(data_dir=data_dir, config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    builder.pieces = pieces
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints of downloads; there is none
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=shards))
    shutil.rmtree(pieces)
    return directory
