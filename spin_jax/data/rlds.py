"""Episodes in the RLDS format, in TFDS array_record shards: the schema, conversion to and from `Episode`, and reading.

A row is (observation, action, reward, discount, is_first, is_last, is_terminal), and perhaps propensity. T transitions
are T + 1 rows; in the last row (is_last) only the observation has a meaning. Termination: is_terminal in the last row,
discount 0 in it and in the row before. Time limit: is_last without is_terminal, and the discount stays 1.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from spin_jax.data.foreign import check_features, check_shards_inside
from spin_jax.errors import DataError
from spin_jax.types import Episode

ROWS_AT_ONCE = 4096  # the most rows that are read at once where all episodes are read in order, if none is longer
BROKEN = "If a shard is broken, move the directory away and make it anew (ours: --stage=data)."


def rlds_features(num_features: int, num_slots: int, propensity: bool = False) -> tfds.features.FeaturesDict:
    """The schema for S observation features and N sub-actions; propensity: rows also say how probable it was."""
    scalar = tfds.features.Scalar
    steps = {
        "observation": tfds.features.Tensor(shape=(num_features,), dtype=np.float32),
        "action": tfds.features.Tensor(shape=(num_slots,), dtype=np.int32),
        "reward": scalar(dtype=np.float32),
        "discount": scalar(dtype=np.float32),
        "is_first": scalar(dtype=np.bool_),
        "is_last": scalar(dtype=np.bool_),
        "is_terminal": scalar(dtype=np.bool_),
        **({"propensity": scalar(dtype=np.float32)} if propensity else {}),
    }
    return tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps)})


def to_rlds(episode: Episode) -> dict:
    """The RLDS rows of an episode, as stacked arrays [T + 1, …]."""
    length = len(episode.reward)
    row = np.arange(length + 1)

    def padded(values):
        return np.concatenate([values, np.zeros_like(values[:1])])

    terminal = (row == length) & episode.terminal
    return {
        "observation": episode.observation.astype(np.float32),
        "action": padded(episode.action).astype(np.int32),
        "reward": padded(episode.reward).astype(np.float32),
        "discount": np.where(terminal | ((row == length - 1) & episode.terminal), 0.0, 1.0).astype(np.float32),
        "is_first": row == 0,
        "is_last": row == length,
        "is_terminal": terminal,
        **({} if episode.propensity is None else {"propensity": padded(episode.propensity).astype(np.float32)}),
    }


def from_rlds(rows: dict) -> Episode:
    """The inverse of `to_rlds`; rows of other types (from other data sets) are cast to the types of `Episode`."""
    return Episode(
        rows["observation"].astype(np.float32, copy=False),
        rows["action"][:-1].astype(np.int32, copy=False),
        rows["reward"][:-1].astype(np.float32, copy=False),
        bool(rows["is_terminal"][-1]),
        rows["propensity"][:-1].astype(np.float32, copy=False) if "propensity" in rows else None,
    )


def is_plain(features: tfds.features.FeaturesDict) -> bool:
    """Whether records have the schema of `rlds_features`, so that `parsed` reads them."""
    steps = dict(features).get("steps")
    inner = getattr(steps, "feature", {})
    if type(steps) is not tfds.features.Dataset or len(dict(features)) > 1 or "observation" not in inner:
        return False
    num_features, num_slots = ((inner[name].shape or (0,))[-1] for name in ("observation", "action"))
    ours = rlds_features(num_features, num_slots, "propensity" in inner)["steps"].feature
    return all(
        name in inner
        and type(inner[name]) in (tfds.features.Tensor, tfds.features.Scalar)
        and _stored(inner[name]) == _stored(ours[name])
        for name in ours
    )


def _stored(feature: tfds.features.FeatureConnector) -> tuple:
    """What tells how a feature lies in a record; one that is compressed lies there as bytes."""
    info = feature.get_serialized_info()
    return feature.shape, feature.np_dtype, info.shape, info.np_dtype


def parsed(record: bytes) -> Episode:
    """The episode of a record of the schema of `rlds_features`, six times as fast as TFDS decodes it.

    In a log of single decisions every row is a record. Raises ValueError if columns have different lengths.
    """
    columns = tf_example_pb2.Example.FromString(record).features.feature
    reward = np.array(columns["steps/reward"].float_list.value, np.float32)
    terminal = columns["steps/is_terminal"].int64_list.value
    observation = np.array(columns["steps/observation"].float_list.value, np.float32).reshape(len(reward), -1)
    action = np.array(columns["steps/action"].int64_list.value, np.int32).reshape(len(reward), -1)
    rows = {"observation": observation, "action": action, "reward": reward, "is_terminal": terminal}
    if "steps/propensity" in columns:
        rows["propensity"] = np.array(columns["steps/propensity"].float_list.value, np.float32)
    if len({len(values) for values in rows.values()}) > 1:
        raise ValueError("its columns have different lengths")
    return from_rlds(rows)


def open_data_set(directory: str) -> tfds.core.DatasetBuilder:
    """The prepared TFDS data set of RLDS episodes in `directory`.

    Raises DataError if it is not a TFDS data set, if it asks for code or files of others (data.foreign), or if its
    steps lack what `rlds_features` declares.
    """
    check_features(pathlib.Path(directory))
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:
        raise DataError(f"{directory} is not a TFDS data set (no readable dataset_info.json there).") from error
    check_shards_inside(builder)
    steps = getattr(dict(builder.info.features or {}).get("steps"), "feature", {})
    missing = {"observation", "action", "reward", "is_terminal"} - set(steps)
    if missing:
        raise DataError(
            f"{directory} does not hold RLDS episodes: its steps have no {', '.join(sorted(missing))}. "
            f"Logs in other formats: python -m spin_jax.logs.import_log"
        )
    return builder


class EpisodeSource(Sequence):
    """The episodes of a split expression of a prepared TFDS data set, each read from disk when it is accessed.

    shards: {split: the files of that split that hold the episodes}. Records of our own schema are parsed here; of
    others, TFDS reads whole episodes as stacked arrays (SkipDecoding), ten times faster than row by row. Several
    threads may read at once. Raises DataError as `open_data_set` does, and on an unknown split. A broken shard, or an
    episode without a step, raises DataError when it is read.
    """

    def __init__(self, directory: str, split: str):
        builder = open_data_set(directory)
        self._failed = f"Cannot read split {split!r} of {directory}"
        try:
            self._plain = is_plain(builder.info.features)
            if self._plain:
                raw = tfds.decode.DeserializeMethod.RAW_BYTES
                self._source = builder.as_data_source(split=split, deserialize_method=raw)
            else:
                self._source = builder.as_data_source(split=split, decoders={"steps": tfds.decode.SkipDecoding()})
            self._length = len(self._source)
            self.shards = _shards(builder, split)
        except ValueError as error:  # TFDS's own: an unknown split, a slice beyond the end, a syntax error
            sizes = ", ".join(f"{name} ({info.num_examples} episodes)" for name, info in builder.info.splits.items())
            raise DataError(f"{self._failed}: {str(error).splitlines()[0]} Splits there: {sizes}.") from error
        except Exception as error:
            raise DataError(f"{self._failed} ({error}). {BROKEN}") from error

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Episode:  # type: ignore[override]  # slices are not supported
        return self._episodes([index])[0]

    def _episodes(self, indices: Sequence[int]) -> list[Episode]:
        """Some episodes; records are read at once, as single ones cost as much as it takes to parse a short one."""
        try:
            records = self._source.__getitems__(list(indices))
        except Exception as error:
            raise DataError(f"{self._failed}, episodes {indices[0]} to {indices[-1]} ({error}). {BROKEN}") from error
        return [self._episode(index, record) for index, record in zip(indices, records, strict=True)]

    def _episode(self, index: int, record: Any) -> Episode:
        try:
            episode = parsed(record) if self._plain else from_rlds(record["steps"])
        except Exception as error:
            raise DataError(f"{self._failed}, episode {index} ({error}). {BROKEN}") from error
        if not len(episode.reward):
            raise DataError(
                f"{self._failed}: episode {index} has no step, only its last state. Leave that episode out."
            )
        return episode

    def __iter__(self) -> Iterator[Episode]:
        start, count = 0, 1
        while start < len(self):
            episodes = self._episodes(range(start, min(start + count, len(self))))
            yield from episodes
            start += len(episodes)
            if 2 * sum(len(episode.reward) for episode in episodes) <= ROWS_AT_ONCE:
                count *= 2


def _shards(builder: tfds.core.DatasetBuilder, expression: str) -> dict[str, list[pathlib.Path]]:
    read = {pathlib.Path(one.filename) for one in builder.info.splits[expression].file_instructions}
    files = {name: set(map(pathlib.Path, split.filepaths)) for name, split in builder.info.splits.items()}
    return {name: sorted(read & own) for name, own in files.items() if read & own}
