"""Writes a data set of ours as a Minari data set: `python -m spin_jax.export.log_to_minari DIRECTORY --id=NAME-v0`.

DIRECTORY is the version of an RLDS data set, as imports and --stage=data name it. The Minari data set goes where Minari
looks for data sets: $MINARI_DATASETS_PATH, or ~/.minari/datasets. Reading it back needs no Minari (logs.minari_data).
"""

import contextlib
import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Iterator

import numpy as np
from absl import flags

from spin_jax import command
from spin_jax.data.cards import check_shards
from spin_jax.data.rlds import EpisodeSource, open_data_set
from spin_jax.data.spaces import read_spaces, to_json
from spin_jax.errors import DataError
from spin_jax.export.multi_discrete import to_multi_discrete
from spin_jax.record.lock import waiting
from spin_jax.record.progress import log, setup_logging, watched
from spin_jax.types import ActionSpec, numbered_spaces

ROOT = "MINARI_DATASETS_PATH"


def log_to_minari(directory: pathlib.Path, split: str, dataset_id: str) -> pathlib.Path:
    """Writes the episodes of a split expression as the Minari data set `dataset_id`; returns its directory.

    Observations are a Box, actions a MultiDiscrete with as many choices as the data set names (spaces.json), or as its
    largest choice asks for. Propensities are the info `propensity` of the step that an action led to. The names of
    features, slots and choices stand in the description, as JSON. Raises DataError if the id is wrong or taken, if
    Minari is not installed, and as EpisodeSource and check_shards do.
    """
    try:
        import gymnasium as gym
        import minari
        from minari.data_collector import EpisodeBuffer
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.storage import get_dataset_path
    except ImportError as error:
        raise DataError(f"A Minari data set is written by Minari: pip install 'spin_jax[minari]' ({error})") from error
    try:
        parse_dataset_id(dataset_id)
    except ValueError as error:
        raise DataError(f"--id={dataset_id!r}: {error} Such as ward/log-v0.") from error
    path = pathlib.Path(get_dataset_path(dataset_id))
    _check_free(path)
    check_shards(directory, split)
    stored = EpisodeSource(str(directory), split)
    spaces = read_spaces(directory) or numbered_spaces(*_sizes(stored))

    def buffers() -> Iterator[EpisodeBuffer]:
        for number, episode in enumerate(watched(stored, "export: writing", "episode")):
            steps = len(episode.reward)
            last = np.arange(steps) == steps - 1
            chosen = episode.propensity
            yield EpisodeBuffer(
                id=number,
                observations=episode.observation,
                actions=episode.action.astype(np.int64),
                rewards=episode.reward,  # type: ignore[arg-type]  # Minari takes arrays, too
                terminations=last & episode.terminal,  # type: ignore[arg-type]
                truncations=last & (not episode.terminal),  # type: ignore[arg-type]
                infos=None if chosen is None else {"propensity": np.concatenate([[np.float32(np.nan)], chosen])},
            )

    with _completed(path, dataset_id), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Minari misses authors, code and an environment
        minari.create_dataset_from_buffers(
            dataset_id,
            buffers(),  # type: ignore[arg-type]  # read once, an episode at a time
            observation_space=gym.spaces.Box(-np.inf, np.inf, (spaces.num_features,), np.float32),
            action_space=to_multi_discrete(spaces.spec),
            description=json.dumps(to_json(spaces)),
            data_format="hdf5",
        )
    return path


@contextlib.contextmanager
def _completed(path: pathlib.Path, dataset_id: str) -> Iterator[None]:
    """What Minari writes as `dataset_id` inside comes to `path` in one step at the end, or not at all.

    A second process waits, and then finds the id taken.
    """
    root = pathlib.Path(str(path).removesuffix(dataset_id))
    partial = root / f".exporting_{dataset_id.replace('/', '_')}"
    before = os.environ.get(ROOT)
    with waiting(partial.with_suffix(".lock"), f"export: {dataset_id}"):
        _check_free(path)
        shutil.rmtree(partial, ignore_errors=True)  # what a killed call left
        os.environ[ROOT] = str(partial)
        try:
            yield
            path.parent.mkdir(parents=True, exist_ok=True)
            (partial / dataset_id).rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            del os.environ[ROOT]
            if before is not None:
                os.environ[ROOT] = before


def _check_free(path: pathlib.Path) -> None:
    """Raises DataError if there is a data set in `path`."""
    if path.exists():
        raise DataError(f"{path} is there already and stays as it is. Choose another --id.")


def _sizes(episodes: EpisodeSource) -> tuple[int, ActionSpec]:
    """S and the choices that occur, of a data set that does not name them."""
    most = np.max([episode.action.max(0) for episode in episodes], axis=0)
    return episodes[0].observation.shape[1], ActionSpec(tuple(int(k) + 1 for k in most))


def main(arguments: list[str]) -> None:
    setup_logging()
    if len(arguments) != 1:
        raise DataError("Name one directory: the version of a data set, such as …/imported_log/ward-0a1b/1.0.0")
    directory = pathlib.Path(arguments[0]).expanduser().absolute()
    split = FLAGS.split or "+".join(open_data_set(str(directory)).info.splits)
    log.info(f"export: {log_to_minari(directory, split, FLAGS.id)}")


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("id", None, "name of the Minari data set, such as ward/log-v0", required=True)
    flags.DEFINE_string("split", None, "TFDS split expression, such as medium+expert[:50%]; default: all splits")
    command.run(main, takes="the directory of a data set")
