"""Columns of an Arrow table as numpy arrays; every entry that cannot be read is reported with its row."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spin_jax.errors import DataError
from spin_jax.logs.problems import Problems

EMPTY = "fill empty entries (NA and null count as empty, unless quoted) or leave those rows out"


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers; true and false count as 1 and 0."""
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def type_name(kind: pa.DataType) -> str:
    """A type of Arrow in words, for messages."""
    return (
        "text" if is_text(kind) else "nothing but empty entries" if pa.types.is_null(kind) else f"values of type {kind}"
    )


def as_table(frame: object, where: object) -> pa.Table:
    """A table of what holds columns: a pyarrow.Table, a data frame of pandas or polars, or a dict of numpy arrays.

    Arrays [R, W] become columns of lists. Columns of dictionaries (pandas' categories) become plain ones, and the
    index of a pandas data frame is left out. Raises DataError on anything else, and on columns of Python objects.
    """
    try:
        if isinstance(frame, dict):
            table = pa.table({name: _from_array(np.asarray(values), name, where) for name, values in frame.items()})
        elif type(frame).__module__.partition(".")[0] == "pandas":
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} cannot be read as a table: {str(error).splitlines()[0]}") from error
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: two columns are called {twice[0]!r}. Rename one of them.")
    for i, field in enumerate(table.schema):
        column = table.column(i)
        if pa.types.is_dictionary(field.type):
            column = pa.chunked_array([_plain(chunk) for chunk in column.chunks], _plain_type(field.type.value_type))
        if column.type != _plain_type(column.type):
            column = column.cast(_plain_type(column.type))
        if column.type != field.type:
            table = table.set_column(i, field.name, column)
    return table


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type as which it is read: views of text (polars) lack most of Arrow's functions."""
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def _plain(chunk: pa.DictionaryArray) -> pa.Array:
    """The values of a column of a dictionary."""
    return chunk.dictionary.cast(_plain_type(chunk.dictionary.type)).take(chunk.indices)


def _from_array(values: np.ndarray, name: str, where: object) -> pa.Array:
    if values.ndim not in (1, 2) or values.dtype.kind not in "biufUO":
        raise DataError(
            f"{where}: {name} is an array of shape {list(values.shape)} and type {values.dtype}; a column is an array "
            f"[rows] or [rows, width] of numbers or text."
        )
    if values.ndim == 1:
        return pa.array(values, from_pandas=False)
    if not values.shape[1]:
        raise DataError(f"{where}: {name} has shape {list(values.shape)}: its width is 0.")
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def single(column: pa.ChunkedArray, name: str, problems: Problems, nullable: bool = False) -> pa.Array:
    """A column as one array; empty entries are reported unless `nullable`."""
    array = column.combine_chunks()
    array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
    if array.null_count and not nullable:
        problems.add_entries(np.asarray(array.is_null()), lambda r: f"has no {name}", EMPTY)
    return array


def numbers(column: pa.ChunkedArray, name: str, problems: Problems, nullable: bool = False) -> np.ndarray:
    """[R] numbers or booleans of a column; empty ones are NaN if `nullable`. Raises DataError if it holds others."""
    if not is_number(column.type):
        raise DataError(f"{problems.where}: {name} holds {described(column)}; only numbers can be read here.")
    array = single(column, name, problems, nullable)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    if array.null_count:
        array = array.cast(pa.float64()).fill_null(np.nan if nullable else 0.0)
    return array.to_numpy(zero_copy_only=False)


def lists(column: pa.ChunkedArray, name: str, problems: Problems, nullable: bool = False) -> list[pa.Array]:
    """The items of a column of lists of one width W, as W arrays [R]; reports empty items, and lists of other widths.

    nullable: a row without a list has W empty items. Where a width is wrong, the result is empty.
    """
    array = single(column, name, problems, nullable)
    null = np.asarray(array.is_null())
    lengths = np.asarray(pc.list_value_length(array).fill_null(-1))
    width = int(lengths[~null][0]) if not null.all() else 0
    problems.add_entries(~null & (lengths == 0), lambda r: f"has an empty list as {name}", SAME_WIDTH)
    ragged = ~null & (lengths != width)
    problems.add_entries(ragged, lambda r: f"has {name} of width {lengths[r]}, needed {width}", SAME_WIDTH)
    if ragged.any() or not width:
        return []
    items = array.flatten()
    start = np.full(len(null), -1)  # where the list of each row begins
    start[~null] = np.arange(0, len(items), width)
    parts = [items.take(pa.array(start + i, mask=null)) for i in range(width)]
    for i, part in enumerate(parts):
        empty = np.asarray(part.is_null()) & ~null
        problems.add_entries(empty, lambda r, i=i: f"has no {name}[{i}]", EMPTY)
    return parts


SAME_WIDTH = "every row needs a list of the same width"


def described(column: pa.ChunkedArray) -> str:
    """What a column holds, with its first entry, of text the first that is no number: text ('high' in row 0)."""
    telling = column.is_valid()
    if is_text(column.type):
        telling = pc.and_(telling, pc.invert(_looks_like_a_number(column)))
    row = pc.index(telling, True).as_py()
    return type_name(column.type) + ("" if row < 0 else f" ({column[row].as_py()!r} in row {row})")


def among_numbers(column: pa.ChunkedArray) -> bool:
    """Whether a column of text holds numbers, except for some entries."""
    return is_text(column.type) and bool(pc.any(_looks_like_a_number(column)).as_py())


def _looks_like_a_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(column, r"^\s*[-+]?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]+)?\s*$")
