"""Observations and actions in the words of a log: columns and categories in, names of choices out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spin_jax.errors import DataError
from spin_jax.types import Feature, Spaces


def records_of(observation: Any) -> list[Mapping] | None:
    """The rows of a mapping, a list of mappings, a data frame or a row of one; None if it is none, but numbers."""
    if is_row(observation):
        return [observation if isinstance(observation, Mapping) else observation.to_dict()]
    if hasattr(observation, "column_names") and hasattr(observation, "to_pylist"):  # pyarrow
        return observation.to_pylist()
    if hasattr(observation, "to_dicts"):  # polars
        return observation.to_dicts()
    if hasattr(observation, "columns") and hasattr(observation, "to_dict"):  # pandas
        return observation.to_dict("records")
    if isinstance(observation, Sequence) and observation and isinstance(observation[0], Mapping):
        return list(observation)
    return None


def is_row(observation: Any) -> bool:
    """Whether it is one row: a mapping, or a row of a data frame of pandas."""
    if isinstance(observation, Mapping):
        return True
    return hasattr(observation, "to_dict") and hasattr(observation, "index") and not hasattr(observation, "columns")


def rows_of(spaces: Spaces, records: Sequence[Mapping]) -> np.ndarray:
    """Observations [B, S] float32 of rows in the words of the log; other columns than the log's are not read.

    Raises DataError, which names the row and the column, if a column is missing or a value is no finite number, too
    short a list or an unknown category.
    """
    categories: dict[Feature, list] = {}
    for feature in spaces.features:
        if feature.category is not None:
            categories.setdefault(feature._replace(category=None), []).append(feature.category)
    for number, record in enumerate(records):
        for feature, known in categories.items():
            if (value := _entry(feature, record, number)) not in known:
                raise DataError(
                    f"Row {number}: {feature.name} is {value!r}, which the policy's log does not have. "
                    f"Known: {', '.join(map(repr, known))}."
                )
    values = [
        [_number(feature, record, number) for feature in spaces.features] for number, record in enumerate(records)
    ]
    return checked(spaces, np.reshape(values, (len(records), spaces.num_features)))


def _entry(feature: Feature, record: Mapping, number: int) -> Any:
    """What a row holds in the feature's column, or in its item of a column of lists."""
    if feature.column not in record:
        raise DataError(f"Row {number} has no column {feature.column!r}; it has {', '.join(map(repr, record))}.")
    value = record[feature.column]
    if feature.item is None:
        return value
    try:
        return value[feature.item]
    except (TypeError, KeyError, IndexError) as error:
        raise DataError(f"Row {number}: {feature.column} has no item {feature.item}; it is {value!r}.") from error


def _number(feature: Feature, record: Mapping, number: int) -> float:
    value = _entry(feature, record, number)
    if feature.category is not None:
        return float(value == feature.category)
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"Row {number}: {feature.name} is not a number in {value!r}.") from error
    if not np.isfinite(found):
        raise DataError(f"Row {number}: {feature.name} is {found}.")
    return found


def checked(spaces: Spaces, observation: Any) -> np.ndarray:
    """Numbers [B, S] or [S] as observations [B, S] float32; raises DataError on another width and on NaN."""
    try:
        with np.errstate(over="ignore"):  # what is beyond float32 becomes inf, which is named below
            rows = np.asarray(observation, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"An observation is an array of numbers, a mapping or a data frame ({error}).") from error
    if rows.ndim not in (1, 2) or rows.shape[-1] != spaces.num_features:
        raise DataError(
            f"Observations have the shape {rows.shape}; the policy reads {spaces.num_features} features, "
            f"[S] or [B, S]: {', '.join(feature.name for feature in spaces.features[:5])} …"
        )
    rows = np.atleast_2d(rows)
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, feature = bad[0]
        raise DataError(f"Row {row}: {spaces.features[feature].name} is {rows[row, feature]}.")
    return rows


def names_of(spaces: Spaces, actions: np.ndarray) -> list[dict[str, Any]]:
    """{slot: name of its choice} of each of the actions [B, N]."""
    slots = list(zip(spaces.slots, spaces.choices, strict=True))
    return [{slot: names[k] for (slot, names), k in zip(slots, row, strict=True)} for row in actions.tolist()]


def shares_of(spaces: Spaces, probabilities: np.ndarray) -> list[dict[str, dict[Any, float]]]:
    """{slot: {name of a choice: its probability}} of each of the probabilities [B, N, K]."""
    slots = list(zip(spaces.slots, spaces.choices, strict=True))
    return [
        {slot: dict(zip(names, shares, strict=False)) for (slot, names), shares in zip(slots, row, strict=True)}
        for row in probabilities.tolist()
    ]
