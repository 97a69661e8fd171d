"""Episodes whose numbers say where they are from, and data sets of any episodes."""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from spin_jax.data.rlds import rlds_features, to_rlds
from spin_jax.data.shards import write_shards
from spin_jax.types import Episode


class Recorded(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The data set of `write_data_set`."""

    VERSION = tfds.core.Version("1.0.0")
    splits, features = {}, None

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(episodes) for name, episodes in self.splits.items()}

    def _generate_examples(self, episodes):
        for i, episode in enumerate(episodes):
            yield i, episode if isinstance(episode, dict) else {"steps": to_rlds(episode)}


def write_data_set(directory, splits, features, num_shards=1) -> pathlib.Path:
    """Prepares a TFDS data set in `directory`, by TFDS's own encoder, and returns its own directory.

    splits: {name: [an Episode, or a dict as `features` says, …]}; features: TFDS's, or (S, N) of RLDS episodes.
    """
    features = rlds_features(*features) if isinstance(features, tuple) else features
    kind = type("Recorded", (Recorded,), {"splits": splits, "features": features}, skip_registration=True)
    builder = kind(data_dir=directory, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    write_shards(builder, num_shards)
    return pathlib.Path(builder.data_path)


def make_episode(number, length=3, terminal=False):
    """Observation t is [number, t], so that every row says where it is from."""
    observation = np.stack([np.full(length + 1, number), np.arange(length + 1)], 1).astype(np.float32)
    action = np.stack([np.arange(length) % 2, np.arange(length) % 3], 1).astype(np.int32)
    return Episode(observation, action, np.full(length, number, np.float32), terminal)


def random_episode(length, terminal, seed=0, choices=3):
    """An episode of 3 features and 2 slots."""
    rng = np.random.default_rng(seed)
    return Episode(
        rng.normal(size=(length + 1, 3)).astype(np.float32),
        rng.integers(0, choices, (length, 2)).astype(np.int32),
        rng.normal(size=length).astype(np.float32),
        terminal,
    )
