"""The observation columns of a table as features: numbers as they are, declared categories as one-hot vectors."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spin_jax.errors import DataError
from spin_jax.logs.arrow import described, is_list, is_number, is_text, lists, numbers, single, type_name
from spin_jax.logs.column_map import OPTION, ColumnMap
from spin_jax.logs.columns import float32
from spin_jax.logs.problems import Problems
from spin_jax.logs.slots import sort_names, whole_numbers
from spin_jax.types import Feature

MOST_CATEGORIES = 1000  # of a one-hot feature
NO_CATEGORY = f"a category is text, a whole number, or true and false; leave amounts out of {OPTION}categorical"


def encode_features(
    table: pa.Table, columns: ColumnMap, problems: Problems
) -> tuple[np.ndarray, np.ndarray, tuple[Feature, ...]]:
    """(observation [R, S], next observation [R, S] or [0, S], S features), float32.

    A row without a next observation is NaN there. The categories of a feature are those that occur in either, sorted.
    Bad entries are reported to `problems`; DataError names a column that cannot be read.
    """
    now = _items(table, columns.observation, problems, columns.categorical, nullable=False)
    later = _items(table, columns.next_observation, problems, _following(columns), nullable=True)
    undeclared = sorted(set(columns.categorical) - {_name(*key) for key in now} - set(columns.observation))
    if undeclared:
        raise DataError(
            f"{problems.where}: {OPTION}categorical names {undeclared[0]}, which is no part of the observation "
            f"({', '.join(columns.observation)}). Name it there too: {OPTION}observation=…"
        )
    if later and len(later) != len(now):
        problems.check()
        raise DataError(
            f"{problems.where}: the next observation ({', '.join(columns.next_observation)}) has width {len(later)}, "
            f"the observation {len(now)}. Name columns that correspond, or {OPTION}next_observation=none"
        )
    features: list[Feature] = []
    parts: list[np.ndarray] = []
    following: list[np.ndarray] = []
    pairs = zip(now.items(), later.values() if later else [None] * len(now), strict=True)
    for ((column, item), values), after in pairs:
        if isinstance(values, np.ndarray):
            features.append(Feature(column, item))
            parts.append(float32(values)[:, None])
            following += [] if after is None else [float32(after)[:, None]]
            continue
        after = _alike(_name(column, item), values, after, problems)
        categories = _categories(_name(column, item), values, after, problems)
        features += [Feature(column, item, category) for category in categories]
        parts.append(_one_hot(values, categories))
        following += [] if after is None else [_one_hot(after, categories)]
    observation = np.concatenate(parts, axis=1) if parts else np.zeros((table.num_rows, 0), np.float32)
    width = observation.shape[1]
    return (
        observation,
        np.concatenate(following, axis=1) if following else np.zeros((0, width), np.float32),
        tuple(features),
    )


def _name(column: str, item: int | None) -> str:
    return Feature(column, item).name


def _following(columns: ColumnMap) -> tuple[str, ...]:
    """The next observation's names of the categorical columns and items."""
    names = dict(zip(columns.observation, columns.next_observation, strict=False))
    split = [name.partition("[") if name not in names else (name, "", "") for name in columns.categorical]
    return tuple(names.get(column, column) + bracket + item for column, bracket, item in split)


def _items(
    table: pa.Table, names: tuple[str, ...], problems: Problems, categorical: tuple[str, ...], nullable: bool
) -> dict[tuple[str, int | None], Any]:
    """By column and item: [R] numbers, or an Arrow array of categories."""
    found: dict[tuple[str, int | None], Any] = {}
    for name in names:
        column = table.column(name)
        if not is_list(column.type):
            if name in categorical:
                found[name, None] = _category_values(single(column, name, problems, nullable), name, problems)
            elif is_number(column.type):
                found[name, None] = numbers(column, name, problems, nullable)
            else:
                raise _no_feature(name, column, problems)
            continue
        for i, part in enumerate(lists(column, name, problems, nullable)):
            if name in categorical or f"{name}[{i}]" in categorical:
                found[name, i] = _category_values(part, f"{name}[{i}]", problems)
            elif is_number(part.type):
                found[name, i] = numbers(pa.chunked_array([part]), f"{name}[{i}]", problems, nullable=True)
            else:
                raise _no_feature(name, column, problems)
    return found


def _no_feature(name: str, column: pa.ChunkedArray, problems: Problems) -> DataError:
    return DataError(
        f"{problems.where}: column {name} of the observation holds {described(column)}. Numbers are read as they are; "
        f"declare categories: {OPTION}categorical={name}; or leave it out: {OPTION}observation=…"
    )


def _category_values(array: pa.Array, name: str, problems: Problems) -> pa.Array:
    """Text, true and false, or whole numbers; null where there is none."""
    if is_text(array.type) or pa.types.is_boolean(array.type):
        return array
    if not is_number(array.type):
        raise DataError(
            f"{problems.where}: {name} holds {described(pa.chunked_array([array]))}; categories are text, whole "
            f"numbers, or true and false. Leave it out of {OPTION}categorical."
        )
    return pa.array(whole_numbers(array, name, problems, NO_CATEGORY), mask=np.asarray(array.is_null()))


def _alike(name: str, values: pa.Array, after: pa.Array | None, problems: Problems) -> pa.Array | None:
    """The next observation's categories in the type of the observation's: of two columns of a CSV, one may be text."""
    if after is None:
        return None
    try:
        return after.cast(values.type)
    except pa.ArrowException as error:
        raise DataError(
            f"{problems.where}: {name} holds {type_name(values.type)}, but its next observation "
            f"{type_name(after.type)}. Write both alike."
        ) from error


def _categories(name: str, values: pa.Array, after: pa.Array | None, problems: Problems) -> list:
    both = pa.chunked_array([values.unique(), *([] if after is None else [after.unique()])])
    names = both.unique().drop_null().to_pylist()
    if len(names) > MOST_CATEGORIES:
        raise DataError(
            f"{problems.where}: column {name} has {len(names)} different categories, more than {MOST_CATEGORIES}, and "
            f"each would become a feature. Leave it out: {OPTION}categorical=…"
        )
    return sort_names(names) if is_text(values.type) else sorted(names)


def _one_hot(values: pa.Array, categories: list) -> np.ndarray:
    """[R, categories] float32; a row of NaN where the value is null."""
    if not categories:  # every value is null, which is reported
        return np.zeros((len(values), 0), np.float32)
    code = pc.index_in(values, value_set=pa.array(categories, type=values.type)).fill_null(-1)
    code = code.to_numpy(zero_copy_only=False)
    result = np.zeros((len(values), len(categories)), np.float32)
    result[np.arange(len(values)), code] = 1
    result[code < 0] = np.nan
    return result
