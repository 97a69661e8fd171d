"""The TFDS data sets `imported_log`: logs that were made elsewhere, as RLDS episodes with one split, train."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds

from spin_jax.data.cards import card_path, shard_digests
from spin_jax.data.shards import EpisodeBuilder, write_shards
from spin_jax.data.spaces import write_spaces
from spin_jax.logs.read_log import Log
from spin_jax.record.files import write_json, write_text
from spin_jax.record.lock import waiting
from spin_jax.record.progress import Progress
from spin_jax.types import Episode

SHARD_BYTES = 1 << 26  # 64 MiB: the approximate size of observations and actions in a shard
PAGE = "understood.txt"  # beside the shards


@dataclasses.dataclass(kw_only=True)
class ImportedConfig(tfds.core.BuilderConfig):
    """Settings of an imported data set: its name, S and N, and whether it has propensities."""

    num_features: int = 1
    num_slots: int = 1
    propensity: bool = False


class ImportedLog(EpisodeBuilder):
    """A log that was made elsewhere; card_train.json names its origin, spaces.json its features, slots and choices."""

    VERSION = tfds.core.Version("1.0.0")
    episodes: tuple[Episode, ...] = ()

    def widths(self) -> tuple[int, int, bool]:
        """Those of the configuration."""
        config = self.builder_config
        return config.num_features, config.num_slots, config.propensity

    def splits(self) -> dict[str, tuple[int, Iterable[Episode]]]:
        """One split, train."""
        return {"train": (len(self.episodes), self._told())}

    def _told(self) -> Iterator[Episode]:
        with Progress("import: writing", len(self.episodes), unit="episode") as progress:
            for i, episode in enumerate(self.episodes):
                yield episode
                progress.update(i + 1)


def data_set_directory(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """The directory of the imported data set `name`."""
    return data_dir / "imported_log" / name / str(ImportedLog.VERSION)


def write_log(data_dir: pathlib.Path, name: str, log: Log, card: dict) -> pathlib.Path:
    """Writes a log, its card, its spaces and its page as the data set `name`, unless it exists; returns its directory.

    Writes everything to a temporary folder in data_dir first, and then renames it, so the data set is either complete
    or missing. A temporary folder that a killed call left is removed. Of several processes that write the same data set
    at once, one writes it and the others wait.
    """
    directory = data_dir / "imported_log" / name
    partial = data_dir / f".importing_{name}"
    with waiting(_lock(data_dir, name), f"import: {directory}"):
        if not directory.exists():
            _write(partial, directory, log, card)
    return data_set_directory(data_dir, name)


def tidy(data_dir: pathlib.Path, name: str) -> None:
    """Removes what a call of `write_log` left that was killed when the data set was there already."""
    partial, lock = data_dir / f".importing_{name}", _lock(data_dir, name)
    if (partial.exists() or lock.exists()) and os.access(data_dir, os.W_OK):
        with waiting(lock, f"import: {name}"):
            shutil.rmtree(partial, ignore_errors=True)


def _lock(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    return data_dir / f".importing_{name}.lock"


def _write(partial: pathlib.Path, directory: pathlib.Path, log: Log, card: dict) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    episodes = log.episodes
    config = ImportedConfig(
        name=directory.name,
        num_features=log.spaces.num_features,
        num_slots=log.spaces.spec.num_slots,
        propensity=episodes[0].propensity is not None,
    )
    builder = ImportedLog(data_dir=partial, config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    builder.episodes = tuple(episodes)
    size = sum(e.observation.nbytes + e.action.nbytes for e in episodes)
    write_shards(builder, min(max(1, size // SHARD_BYTES), len(episodes)))
    written = pathlib.Path(builder.data_path)
    write_json(card_path(written, "train"), card | {"shards": shard_digests(written, "train")})
    write_spaces(written, log.spaces)
    write_text(written / PAGE, log.page + "\n")
    directory.parent.mkdir(exist_ok=True)
    (partial / "imported_log" / directory.name).rename(directory)
    shutil.rmtree(partial)
