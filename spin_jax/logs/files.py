"""Reads logs from .npz and .parquet files.

Columns: observation, action, reward, terminal, timeout, and optionally next_observation.
"""

import pathlib
import zipfile

import numpy as np

from spin_jax.errors import DataError
from spin_jax.logs.columns import Problems

NEEDED = ("observation", "action", "reward", "terminal", "timeout")


def _select(path: pathlib.Path, names: list[str]) -> list[str]:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names) or 'none'}.")
    return [*NEEDED, *(["next_observation"] if "next_observation" in names else [])]


def npz_columns(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays [R, S], [R, N], [R], … of a .npz file, by name.

    Raises DataError if the file is damaged, lacks a column, or holds Python objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in _select(path, arrays.files)}
    except DataError:
        raise
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as .npz without Python objects: {error}") from error


def parquet_columns(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The columns of a .parquet file as arrays [R, S], [R, N], [R], … by name.

    In the file, vectors are lists of equal length; flags and rewards are plain numbers. A null next_observation means
    "not known" and becomes a row of NaN. Raises DataError if the file is damaged or lacks a column, and on other nulls
    and lists of unequal length, naming the rows.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: reading .parquet needs pyarrow: pip install pyarrow") from error
    try:
        schema = pa.parquet.read_schema(path)
        table = pa.parquet.read_table(path, columns=_select(path, schema.names)).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as .parquet: {error}") from error
    problems, columns = Problems(path), {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        null = np.asarray(column.is_null())
        if name != "next_observation":
            problems.add_entries(null, lambda r, n=name: f"has no {n}")
        if not hasattr(column.type, "value_type"):  # not a list
            columns[name] = column.to_numpy(zero_copy_only=False)
            continue
        lengths = np.asarray(pa.compute.list_value_length(column).fill_null(-1))
        width = lengths[~null][0] if (~null).any() else 0
        ragged = ~null & (lengths != width)
        problems.add_entries(ragged, lambda r, n=name, v=lengths, w=width: f"has {n} of width {v[r]}, needed {w}")
        if not ragged.any():
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            columns[name] = values if not null.any() else np.full((len(null), width), np.nan)
            if null.any():
                columns[name][~null] = values
    problems.check()
    return columns
