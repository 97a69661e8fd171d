"""Reads a log from files into one Arrow table: Parquet, CSV, npz, a Minari data set, or the published suite's pickles.

Nothing in a file is ever run: npz without Python objects, pickles through suite_pickle's list of allowed names.
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from spin_jax.errors import DataError
from spin_jax.logs.arrow import as_table
from spin_jax.logs.minari_data import minari_directory, minari_table
from spin_jax.logs.suite_pickle import suite_columns
from spin_jax.record.inputs import file_digest
from spin_jax.record.progress import Progress

FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".tsv": "csv", ".npz": "npz",
    "": "suite", ".pkl": "suite", ".pickle": "suite",
}  # fmt: skip
TABLES = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv")  # of which a directory may hold several
CAN_READ = (
    "Parquet (.parquet), CSV (.csv, .csv.gz, .tsv), .npz, a directory of several Parquet or CSV files, a Minari data "
    "set, an RLDS data set of TFDS, or a pickle of the published suite (no suffix, .pkl)"
)


class Source(NamedTuple):
    """A log as it was read."""

    table: pa.Table
    format: str  # a value of FORMATS, 'minari', or 'memory'
    files: tuple[tuple[str, int], ...]  # the name of each file and its rows
    choices: tuple[tuple[Any, ...], ...] | None = None  # of each slot, if the format says so


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of the log `path`, sorted by name; raises DataError if it is missing or of no known format."""
    if not path.exists():
        raise DataError(f"config.data.path={path}: there is no such file or directory.")
    if path.is_dir():
        data = minari_directory(path)
        if data:
            return sorted(file for file in data.rglob("*") if file.is_file())
        files = sorted(file for file in path.iterdir() if file.is_file() and suffix(file) in TABLES)
        kinds = {FORMATS[suffix(file)] for file in files}
        if len(kinds) == 1:
            return files
        found = "Parquet and CSV files together" if kinds else "no Parquet or CSV file directly in it"
        raise DataError(f"{path} is a directory with {found}. What can be read: {CAN_READ}.")
    if suffix(path) not in FORMATS:
        raise DataError(f"{path} ends in {path.suffix}, and no reader knows that. What can be read: {CAN_READ}.")
    return [path]


def suffix(path: pathlib.Path) -> str:
    """The end of a file's name that tells its format, in lower case."""
    name = path.name.lower()
    return ".csv.gz" if name.endswith(".csv.gz") else path.suffix.lower()


def checksum(files: list[pathlib.Path], root: pathlib.Path) -> str:
    """SHA-256 of one file, or of the names (below `root`) and checksums of several."""
    digests = [(str(path.relative_to(root)), file_digest(path)) for path in files]
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256(repr(digests).encode()).hexdigest()


def read_source(path: pathlib.Path, files: list[pathlib.Path]) -> Source:
    """The log `path`, which consists of `files` (files_of); raises DataError on what cannot be read."""
    data = minari_directory(path) if path.is_dir() else None
    if data:
        table, choices = minari_table(data)
        return Source(table, "minari", ((path.name, table.num_rows),), choices)
    return read_files(files)


def read_files(files: list[pathlib.Path], widths: tuple[int, int] | None = None) -> Source:
    """One log of several files of one format, which must have the same columns; widths: (S, N) of pickles, if known."""
    tables: list[pa.Table] = []
    megabytes = [(path.stat().st_size >> 20) + 1 if path.is_file() else 1 for path in files]
    kinds = {FORMATS.get(suffix(path), suffix(path)) for path in files}
    if len(kinds) != 1 or kinds - set(FORMATS.values()):
        raise DataError(
            f"Cannot import {', '.join(path.name for path in files)} as one log. What can be read: {CAN_READ}."
        )
    with Progress("import: reading", sum(megabytes), unit="megabyte") as progress:
        for i, path in enumerate(files):
            before = sum(megabytes[:i])

            def on_bytes(count: int, before: int = before) -> None:
                progress.update(before + (count >> 20))

            table = as_table(_read(path, widths, on_bytes), path)
            if not table.num_rows:
                raise DataError(f"{path} has no rows.")
            tables.append(_like_the_first(table, tables, path, files[0]))
            progress.update(before + megabytes[i])
    rows = tuple((path.name, table.num_rows) for path, table in zip(files, tables, strict=True))
    return Source(pa.concat_tables(tables, promote_options="permissive"), kinds.pop(), rows)


def _like_the_first(table: pa.Table, tables: list[pa.Table], path: pathlib.Path, first: pathlib.Path) -> pa.Table:
    if not tables:
        return table
    other = sorted(set(table.column_names) ^ set(tables[0].column_names))
    if other:
        raise DataError(f"{path}: column {other[0]!r} is either here or in {first.name}, but not in both.")
    table = table.select(tables[0].column_names)
    try:
        pa.unify_schemas([tables[0].schema, table.schema], promote_options="permissive")
    except pa.ArrowException as error:
        kinds = zip(table.schema, tables[0].schema, strict=True)
        name, here, there = next((a.name, a.type, b.type) for a, b in kinds if a.type != b.type)
        raise DataError(
            f"{path}: column {name} holds {here} here and {there} in {first.name}; write them alike."
        ) from error
    return table


def _read(path: pathlib.Path, widths: tuple[int, int] | None, on_bytes: Callable[[int], None]) -> pa.Table | dict:
    kind = FORMATS[suffix(path)]
    if kind == "suite":
        return suite_columns(path, widths, on_bytes)
    if kind == "npz":
        return _npz(path)
    try:
        if kind == "parquet":
            return pa.parquet.ParquetFile(path).read()
        separator = "\t" if suffix(path) == ".tsv" else ","
        options = pa.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        return pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=options,
        )
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as {suffix(path)}: {str(error).splitlines()[0]}{_advice(str(error))}"
        ) from error


def _advice(error: str) -> str:
    """What would do after an error of the CSV reader."""
    if "UTF8" in error or "UTF-8" in error:
        return " Save the file as UTF-8."
    return " Every row needs as many commas as the header." if "Expected" in error else ""


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as .npz without Python objects: {error}") from error
