"""Data sets that we write are those that TFDS would write: records, files, facts."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from episodes import random_episode, write_data_set
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

from spin_jax.data.rlds import parsed, rlds_features, to_rlds
from spin_jax.data.shards import EpisodeBuilder, serialised, write_shards


@pytest.mark.parametrize("propensity", [False, True])
@pytest.mark.parametrize(("length", "terminal"), [(1, True), (1, False), (7, True), (1000, False)])
def test_a_record_is_the_one_of_tfds(length, terminal, propensity):
    episode, features = random_episode(length, terminal, choices=300), rlds_features(3, 2, propensity)
    if propensity:
        episode = episode._replace(propensity=np.random.default_rng(1).uniform(size=length).astype(np.float32))
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    expected = serializer.serialize_example(features.encode_example({"steps": to_rlds(episode)}))
    found = serialised(episode)
    assert tf_example_pb2.Example.FromString(found) == tf_example_pb2.Example.FromString(expected)
    assert serialised(parsed(found)) == found


class Ours(EpisodeBuilder, skip_registration=True):
    """Two splits of episodes of different lengths."""

    VERSION = tfds.core.Version("1.0.0")
    given = {"train": [random_episode(i + 1, i % 2 == 0) for i in range(10)], "test": [random_episode(4, False)] * 4}

    def widths(self):
        return 3, 2, False

    def splits(self):
        return {name: (len(episodes), iter(episodes)) for name, episodes in self.given.items()}


def facts(directory: pathlib.Path):
    """What TFDS knows of the splits, and their episodes as it decodes them."""
    builder = tfds.builder_from_directory(directory)
    source = {name: builder.as_data_source(split=name) for name in builder.info.splits}
    rows = {name: [list(episode["steps"]) for episode in episodes] for name, episodes in source.items()}
    stored = json.loads((directory / "dataset_info.json").read_text())["splits"]
    return {split["name"]: (split["shardLengths"], split["numBytes"]) for split in stored}, rows


def test_splits_and_shards_are_those_of_tfds(tmp_path):
    ours = Ours(data_dir=tmp_path, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    write_shards(ours, 4)
    theirs = write_data_set(tmp_path, Ours.given, rlds_features(3, 2), num_shards=4)
    (splits, rows), (expected_splits, expected_rows) = facts(pathlib.Path(ours.data_path)), facts(theirs)
    assert splits == expected_splits
    assert splits["train"][0] == ["2", "3", "3", "2"]
    for name in Ours.given:
        assert len(rows[name]) == len(Ours.given[name])
        for found, expected in zip(rows[name], expected_rows[name], strict=True):
            for row, other in zip(found, expected, strict=True):
                assert row.keys() == other.keys()
                assert all(np.array_equal(row[key], other[key]) for key in row)
