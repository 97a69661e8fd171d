"""`spin_jax.Dataset`: a log that is in memory, such as a data frame, brought in as a data set."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from spin_jax.data.spaces import read_spaces
from spin_jax.errors import DataError
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.logs.import_table import import_frame
from spin_jax.record.progress import setup_logging
from spin_jax.types import Spaces

DATA_DIR = "~/tensorflow_datasets"


@dataclasses.dataclass(frozen=True)
class LoggedDataset:
    """An imported log; `path` is its directory, which config.data.path takes."""

    path: pathlib.Path

    @property
    def spaces(self) -> Spaces:
        """The names of features, slots and choices."""
        found = read_spaces(self.path)
        assert found is not None  # every import writes them
        return found

    @classmethod
    def from_pandas(
        cls,
        frame: Any,
        name: str = "log",
        data_dir: str | os.PathLike = DATA_DIR,
        **columns: str | Sequence[str] | None,
    ) -> "LoggedDataset":
        """Imports a data frame (pandas, polars or pyarrow), a row for each decision; the same data only once.

        columns: what the columns mean, the fields of ColumnConfig: action=["drug", "dose"], reward="effect",
        episode="patient", step="day", …; what is not given is found by the usual names. The result is kept in
        data_dir/imported_log. Raises DataError on unknown fields, and as logs.import_table.import_frame does.
        """
        setup_logging()  # the page of what was understood is for people
        known = [field.name for field in dataclasses.fields(ColumnConfig)]
        for field in columns:
            if field not in known:
                raise DataError(f"{field} is not a kind of column; there are {', '.join(known)}.")
        names = {field: _option(given) for field, given in columns.items() if given is not None}
        return cls(import_frame(frame, ColumnConfig(**names), pathlib.Path(data_dir).expanduser(), name))

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Any], name: str = "log", data_dir: str | os.PathLike = DATA_DIR, **columns: str
    ) -> "LoggedDataset":
        """Imports arrays by name: observation [R, S], action [R, N], reward [R], terminal [R], …; as from_pandas."""
        return cls.from_pandas(dict(arrays), name, data_dir, **columns)


def _option(given: str | Sequence[str]) -> str:
    """Names as an option of ColumnConfig; a name with commas, quotes or spaces around it stands in quotes."""
    if isinstance(given, str):
        return given
    return ",".join(map(_quoted, given))


def _quoted(name: str) -> str:
    plain = name == name.strip() and not set(name) & set(',"')
    return name if plain else '"' + name.replace('"', '""') + '"'
