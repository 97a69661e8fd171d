"""RLDS episodes in TFDS array_record shards: the schema, both directions, and reading.

A row is (observation, action, reward, discount, is_first, is_last, is_terminal); T transitions are T + 1 rows and the
is_last row carries only its observation. Termination: is_terminal on the last row and discount 0 on the row before.
Time limit: is_last without is_terminal, and the discount stays 1.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from spin_jax.types import Episode

BROKEN = "If a shard is broken, move the directory away and make it anew (ours: --stage=data)."


class DataError(ValueError):
    """A log is missing, unreadable, or holds something that cannot be trained on; the message names it."""


def rlds_features(num_features: int, num_slots: int) -> tfds.features.FeaturesDict:
    """The schema for S observation features and N sub-actions."""
    scalar = tfds.features.Scalar
    steps = {
        "observation": tfds.features.Tensor(shape=(num_features,), dtype=np.float32),
        "action": tfds.features.Tensor(shape=(num_slots,), dtype=np.int32),
        "reward": scalar(dtype=np.float32),
        "discount": scalar(dtype=np.float32),
        "is_first": scalar(dtype=np.bool_),
        "is_last": scalar(dtype=np.bool_),
        "is_terminal": scalar(dtype=np.bool_),
    }
    return tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps)})


def to_rlds(episode: Episode) -> dict:
    """The rows of an episode, as stacked arrays [T + 1, …]."""
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
    }


def from_rlds(rows: dict) -> Episode:
    """The inverse of `to_rlds`; rows of other makers' data sets are cast to the types of `Episode`."""
    return Episode(
        rows["observation"].astype(np.float32, copy=False),
        rows["action"][:-1].astype(np.int32, copy=False),
        rows["reward"][:-1].astype(np.float32, copy=False),
        bool(rows["is_terminal"][-1]),
    )


def open_data_set(directory: str) -> tfds.core.DatasetBuilder:
    """The prepared TFDS data set of RLDS episodes in `directory`.

    Raises DataError where it is not a TFDS data set, or one whose steps lack what `rlds_features` declares.
    """
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:
        raise DataError(f"{directory} is not a TFDS data set (no readable dataset_info.json there).") from error
    steps = getattr(dict(builder.info.features or {}).get("steps"), "feature", {})
    missing = {"observation", "action", "reward", "is_terminal"} - set(steps)
    if missing:
        raise DataError(
            f"{directory} does not hold RLDS episodes: its steps have no {', '.join(sorted(missing))}. "
            f"Logs in other formats: python -m spin_jax.collect.import_suite"
        )
    return builder


def each_episode(directory: str, split: str) -> Iterator[Episode]:
    """The episodes of a split expression of a prepared TFDS data set, one by one, in order.

    Whole episodes are read as stacked arrays (SkipDecoding); decoding row by row would be ten times slower.
    Raises DataError as `open_data_set` does, on an unknown split and on a broken shard.
    """
    builder = open_data_set(directory)
    failed = f"Cannot read split {split!r} of {directory}"
    try:
        source = builder.as_data_source(split=split, decoders={"steps": tfds.decode.SkipDecoding()})
    except ValueError as error:  # TFDS's own: an unknown split, a slice beyond the end, a syntax error
        sizes = ", ".join(f"{name} ({info.num_examples} episodes)" for name, info in builder.info.splits.items())
        raise DataError(f"{failed}: {str(error).splitlines()[0]} Splits there: {sizes}.") from error
    except Exception as error:
        raise DataError(f"{failed} ({error}). {BROKEN}") from error
    for i in range(len(source)):
        try:
            episode = from_rlds(source[i]["steps"])
        except Exception as error:
            raise DataError(f"{failed}, episode {i} ({error}). {BROKEN}") from error
        yield episode


def read_episodes(directory: str, split: str) -> list[Episode]:
    """All episodes of a split expression, in order; errors as `each_episode`."""
    return list(each_episode(directory, split))
