"""The TFDS data sets `imported_log`: logs that were made elsewhere, as RLDS episodes with one split, train."""

import dataclasses
import pathlib
import shutil

import tensorflow_datasets as tfds

from spin_jax.data.cards import card_path
from spin_jax.data.rlds import rlds_features, to_rlds, write_shards
from spin_jax.record.progress import Progress
from spin_jax.record.workdir import write_json
from spin_jax.types import Episode

SHARD_BYTES = 1 << 26  # 64 MiB: the approximate size of observations and actions in a shard


@dataclasses.dataclass(kw_only=True)
class ImportedConfig(tfds.core.BuilderConfig):
    """Settings of an imported data set: its name, S and N."""

    num_features: int = 1
    num_slots: int = 1


class ImportedLog(tfds.core.GeneratorBasedBuilder):
    """A log that was made elsewhere; card_train.json names its origin."""

    VERSION = tfds.core.Version("1.0.0")
    episodes: tuple[Episode, ...] = ()

    def _info(self) -> tfds.core.DatasetInfo:
        widths = self.builder_config.num_features, self.builder_config.num_slots
        return tfds.core.DatasetInfo(
            builder=self, description=self.__class__.__doc__, features=rlds_features(*widths), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        with Progress("import: writing", len(self.episodes), unit="episode") as progress:
            for i, episode in enumerate(self.episodes):
                yield i, {"steps": to_rlds(episode)}
                progress.update(i + 1)


def write_log(target: pathlib.Path, episodes: list[Episode], card: dict) -> pathlib.Path:
    """Write `episodes` and their card as the data set `target` = DATA_DIR/imported_log/NAME; returns its directory.

    Writes everything to a temporary folder in DATA_DIR first, and then renames it, so `target` is either complete or
    missing. A temporary folder that a killed call left is removed. Raises OSError if `target` exists and is not empty.
    """
    partial = target.parent.parent / f".importing_{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    widths = {"num_features": episodes[0].observation.shape[1], "num_slots": episodes[0].action.shape[1]}
    config = ImportedConfig(name=target.name, **widths)
    builder = ImportedLog(data_dir=partial, config=config, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    builder.episodes = tuple(episodes)
    size = sum(e.observation.nbytes + e.action.nbytes for e in episodes)
    shards = min(max(1, size // SHARD_BYTES), len(episodes))
    write_shards(builder, shards)
    write_json(card_path(pathlib.Path(builder.data_path), "train"), card)
    target.parent.mkdir(exist_ok=True)
    (partial / "imported_log" / target.name).rename(target)
    shutil.rmtree(partial)
    return target / str(ImportedLog.VERSION)
