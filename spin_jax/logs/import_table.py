"""Brings a log of any supported format in as an RLDS data set, once: a checksum of the data names its directory."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from spin_jax.data.card import card_table, data_card
from spin_jax.data.rlds import open_data_set
from spin_jax.errors import DataError
from spin_jax.logs.arrow import as_table
from spin_jax.logs.column_map import OPTION, ColumnConfig
from spin_jax.logs.data_set import PAGE, data_set_directory, tidy, write_log
from spin_jax.logs.read_log import Log, read_log
from spin_jax.logs.sources import Source, checksum, files_of, read_source
from spin_jax.record.files import read_text
from spin_jax.record.progress import log

MEANING = 1  # raise it when the same file would be understood differently: then it is imported anew


def import_table(path: pathlib.Path, columns: ColumnConfig, data_dir: pathlib.Path) -> pathlib.Path:
    """Imports a file or directory (sources.CAN_READ) unless that was done; returns the directory of the data set.

    The data set is data_dir/imported_log/<name>-<12 hex digits>/1.0.0: the digits are a checksum of the files, the
    settings of columns and the file of choices. It has card_train.json and spaces.json. Logs the page of what was
    understood. An RLDS data set of TFDS is not imported: its own directory is returned. Raises DataError on anything
    that cannot be read; then nothing is written.
    """
    path = path.expanduser().absolute()
    if is_rlds(path):
        return check_rlds(path, columns)
    versions = sorted(inner for inner in path.iterdir() if is_rlds(inner)) if path.is_dir() else []
    if versions:
        raise DataError(f"{path} holds versions of an RLDS data set. Name the directory of one: {versions[-1]}")
    files = files_of(path)
    digest = _digest(checksum(files, path if path.is_dir() else path.parent), columns)
    name = re.sub(r"[^\w.-]+", "_", path.name.removesuffix(".gz").removesuffix(path.suffix)).strip("._-") or "log"
    return _import_once(f"{name}-{digest}", path, lambda: read_source(path, files), columns, data_dir)


def import_frame(frame: object, columns: ColumnConfig, data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """As import_table, for data in memory: a pyarrow.Table, a data frame of pandas or polars, or a dict of arrays.

    name: of the data set, to which the checksum of the data is added. Raises DataError as import_table does.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"The name {name!r} of a log must consist of letters, digits, '_', '-' and '.'.")
    table = as_table(frame, name)
    digest = _digest(_table_checksum(table), columns)
    source = Source(table, "memory", ((name, table.num_rows),))
    return _import_once(f"{name}-{digest}", name, lambda: source, columns, data_dir)


def _import_once(
    name: str, where: object, read: Callable[[], Source], columns: ColumnConfig, data_dir: pathlib.Path
) -> pathlib.Path:
    directory = data_set_directory(data_dir.expanduser().absolute(), name)
    if directory.exists():
        tidy(directory.parent.parent.parent, name)
        way_out = f"Move {directory.parent} away: {where} is then imported again."
        page = read_text(directory / PAGE, DataError, way_out)
        log.info(f"import: {where} was imported before, into {directory}\n{page.rstrip()}")
        return directory
    return store(name, read_log(read(), columns, where), directory.parent.parent.parent)


def store(name: str, found: Log, data_dir: pathlib.Path, made_by: dict | None = None) -> pathlib.Path:
    """Writes a log that was read as the data set `name`, and logs its page and its card; returns its directory."""
    card = data_card(found.episodes, found.spaces.spec, (made_by or {}) | found.made_by)
    log.info(found.page)
    directory = write_log(data_dir, name, found, card)
    log.info(f"import: {directory}\n{card_table({'train': card})}")
    return directory


def is_rlds(path: pathlib.Path) -> bool:
    """Whether a directory holds a prepared data set of TFDS."""
    return any((path / name).is_file() for name in ("dataset_info.json", "features.json"))


def check_rlds(path: pathlib.Path, columns: ColumnConfig) -> pathlib.Path:
    """`path`, if its steps are what the package reads; raises DataError on steps of another form."""
    named = [field for field, value in dataclasses.asdict(columns).items() if value]
    if named:
        raise DataError(
            f"{path} is an RLDS data set, whose columns have fixed names: {OPTION}{named[0]} must be empty."
        )
    steps = open_data_set(str(path)).info.features["steps"].feature
    advice = "Write the steps as a table (Parquet), one column of lists each, and give the path of that."
    for name in ("observation", "action"):
        shape = getattr(steps[name], "shape", None)
        if not isinstance(shape, tuple) or len(shape) != 1 or shape[0] is None:
            found = f"a dict of {', '.join(steps[name])}" if isinstance(shape, dict) else f"of shape {shape}"
            raise DataError(f"{path}: its steps have an {name} that is {found}, needed one vector. {advice}")
    for name in {"reward", "is_terminal", "propensity"} & set(steps):
        shape = getattr(steps[name], "shape", None)
        if shape != ():
            raise DataError(f"{path}: its steps have a {name} of shape {shape}, needed one number. {advice}")
    kind = np.dtype(steps["action"].np_dtype)
    if kind.kind not in "iu":
        raise DataError(f"{path}: its actions are of type {kind}, needed whole numbers. {advice}")
    return path


def _digest(data: str, columns: ColumnConfig) -> str:
    settings = dataclasses.asdict(columns)
    if columns.choices:
        chosen = pathlib.Path(columns.choices).expanduser()
        if not chosen.is_file():
            raise DataError(f"{OPTION}choices={columns.choices}: there is no such file.")
        settings["choices"] = read_text(chosen, DataError, "Write it as JSON in UTF-8.")
    return hashlib.sha256(repr((MEANING, data, sorted(settings.items()))).encode()).hexdigest()[:12]


class _Hash:
    """A file that only keeps a checksum of what is written to it."""

    closed = False

    def __init__(self):
        self.sha = hashlib.sha256()

    def write(self, data):
        self.sha.update(data)
        return len(data)


def _table_checksum(table: pa.Table) -> str:
    """SHA-256 of the columns of a table, however it is cut into chunks."""
    sink = _Hash()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), plain.schema) as writer:
        writer.write_table(plain)
    return sink.sha.hexdigest()
