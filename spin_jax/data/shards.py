"""Writing episodes into TFDS data sets of array_record shards: TFDS names and describes the files, we fill them."""

import abc
import contextlib
import io
import itertools
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tensorflow_datasets.proto import tf_example_pb2

from spin_jax.data.rlds import rlds_features, to_rlds
from spin_jax.types import Episode


def serialised(episode: Episode) -> bytes:
    """The record of an episode in the schema of `rlds_features`, as TFDS makes it; `rlds.parsed` is the inverse.

    Rows with one transition take a tenth of the time that TFDS takes: it encodes every value of every row by itself.
    """
    example = tf_example_pb2.Example()
    columns = example.features.feature
    for name, values in to_rlds(episode).items():
        column = columns[f"steps/{name}"]
        if values.dtype == np.float32:
            column.float_list.value.extend(values.ravel().tolist())
        else:
            column.int64_list.value.extend(values.ravel().astype(int).tolist())
    return example.SerializeToString(deterministic=True)


class LocalInfo(tfds.core.DatasetInfo):
    """Facts of a data set that is made here: no server is asked for them (TFDS leaves an empty folder each time)."""

    def initialize_from_bucket(self) -> None:
        """Does nothing."""


class EpisodeBuilder(FileReaderBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS is untyped
    """The base of our data sets of episodes, which keep their order: episode i of a split is the same in every reading.

    A subclass says its VERSION, as a TFDS builder does, `widths` and `splits`; its docstring is the description.
    """

    @abc.abstractmethod
    def widths(self) -> tuple[int, int, bool]:
        """(S, N, whether rows have propensities), the arguments of `rlds_features`."""

    @abc.abstractmethod
    def splits(self) -> dict[str, tuple[int, Iterable[Episode]]]:
        """{split: (how many episodes it has, the episodes)}."""

    def _info(self) -> tfds.core.DatasetInfo:
        features = rlds_features(*self.widths())
        return LocalInfo(builder=self, description=self.__class__.__doc__, features=features, disable_shuffling=True)

    def _download_and_prepare(self, dl_manager, download_config=None):
        """Fills the files of all splits; TFDS calls it with the number of shards."""
        shards = download_config.num_shards
        found = [self._fill(name, *given, shards) for name, given in self.splits().items()]
        self.info.set_splits(tfds.core.SplitDict(found))

    def _fill(self, split: str, count: int, episodes: Iterable[Episode], shards: int) -> tfds.core.SplitInfo:
        names, left = self._get_filename_template(split_name=split), iter(episodes)
        ends = [round(count * (i + 1) / shards) for i in range(shards)]  # as TFDS divides them
        lengths = [end - start for start, end in itertools.pairwise([0, *ends])]
        sizes = [
            _write(names.sharded_filepath(shard_index=i, num_shards=shards), itertools.islice(left, length))
            for i, length in enumerate(lengths)
        ]
        return tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=sum(sizes), filename_template=names)


def _write(path: pathlib.Path, episodes: Iterator[Episode]) -> int:
    """Writes one shard; returns the bytes of its records."""
    writer, size = ArrayRecordWriter(str(path), "group_size:1"), 0  # every record can be read alone
    for episode in episodes:
        record = serialised(episode)
        writer.write(record)
        size += len(record)
    writer.close()
    return size


def write_shards(builder: tfds.core.DatasetBuilder, num_shards: int) -> None:
    """Prepare `builder` with num_shards array_record shards for each split; TFDS's own output is hidden.

    Only one process may do so at a time: what a killed one left is removed.
    """
    for left in pathlib.Path(builder.data_path).parent.glob("incomplete.*"):
        shutil.rmtree(left)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=num_shards))
