"""The action columns of a table as slots: the vocabulary of each, and the rows as numbers of choices."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spin_jax.errors import DataError
from spin_jax.logs.arrow import EMPTY, described, is_list, is_number, is_text, lists, single
from spin_jax.logs.column_map import OPTION
from spin_jax.logs.problems import Problems

MOST_CHOICES = 10_000  # a column with more is a number or an id, hardly a choice
BELOW = "number the choices from 0, or put each slot into a column of its own, where any whole number or text may stand"
UNKNOWN = f"correct those rows, or list every choice of the slot in the file of {OPTION}choices"
CUT = "a slot of the action takes one of a few choices; cut an amount into steps first (numpy.digitize)"

Choices = tuple[Any, ...]


class Slots(NamedTuple):
    """The joint actions of a log, with the names of their slots and choices."""

    action: np.ndarray  # [R, N] int32
    names: tuple[str, ...]
    choices: tuple[Choices, ...]


def encode_slots(
    table: pa.Table,
    columns: tuple[str, ...],
    known: tuple[Choices, ...] | None,
    given: dict[str, Any],
    problems: Problems,
) -> Slots:
    """The slots in `columns`; bad entries are reported, bad columns raise DataError.

    Choices of a slot are, in this order of precedence: those in `given` (by the slot's name, see read_choices), those
    in `known` (by its place), and those that occur: false and true; numbers and text, sorted; in a column of lists of
    numbers, every number from 0 to the largest. A single column is a slot of that name, an item of a column of lists
    is `column[item]`.
    """
    values: dict[str, tuple[pa.Array, bool]] = {}  # of each slot, and whether it comes from a list
    for name in columns:
        column = table.column(name)
        if not is_list(column.type):
            values[name] = single(column, name, problems), False
            continue
        for i, part in enumerate(lists(column, name, problems)):
            values[f"{name}[{i}]"] = part, True
    if not values:  # ragged lists, which were reported
        problems.check()
    if known is not None and len(known) != len(values):
        raise DataError(
            f"{problems.where}: the action in {', '.join(columns)} has width {len(values)}, needed {len(known)}."
        )
    unknown = sorted(set(given) - set(values))
    if unknown:
        slots = ", ".join(values)
        raise DataError(f"{problems.where}: {OPTION}choices names {unknown[0]!r}, which is no slot. Slots are {slots}.")
    codes, choices = [], []
    for i, (name, (array, numbered)) in enumerate(values.items()):
        wanted = given.get(name, known[i] if known else None)
        code, names = _encode_slot(array, name, wanted, numbered, problems)
        codes.append(code)
        choices.append(names)
    return Slots(np.stack(codes, axis=1), tuple(values), tuple(choices))


def read_choices(path: str) -> dict[str, Any]:
    """The choices of slots in the JSON file `path`: {slot: [choice, …] or their number}; {} for no path.

    Raises DataError if the file cannot be read or holds anything else.
    """
    if not path:
        return {}
    where = f"{OPTION}choices={path}"
    try:
        given = json.loads(pathlib.Path(path).expanduser().read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where} cannot be read as JSON ({error}).") from error
    if not isinstance(given, dict):
        raise DataError(f'{where} must hold an object such as {{"slot": ["first choice", "second choice"]}}.')
    choices: dict[str, Any] = {}
    for slot, names in given.items():
        if isinstance(names, int) and not isinstance(names, bool) and 0 < names <= MOST_CHOICES:
            names = list(range(names))
        if not isinstance(names, list) or not names or any(not isinstance(name, str | int) for name in names):
            raise DataError(
                f"{where}: {slot} must have a list of texts or whole numbers, or the number of its choices."
            )
        if len({(type(name), name) for name in names}) < len(names):
            raise DataError(f"{where}: {slot} has a choice twice; each choice must occur once.")
        choices[slot] = tuple(names)
    return choices


def _encode_slot(
    array: pa.Array, name: str, wanted: Choices | None, numbered: bool, problems: Problems
) -> tuple[np.ndarray, Choices]:
    """The numbers [R] int32 of the choices of a slot, and its choices."""
    values = array
    if is_number(array.type) and not pa.types.is_boolean(array.type):
        values = pa.array(whole_numbers(array, name, problems))
    elif not is_text(array.type) and not pa.types.is_boolean(array.type):
        raise DataError(
            f"{problems.where}: action {name} holds {described(pa.chunked_array([array]))}. A slot must hold text, "
            f"whole numbers or true and false: convert it, or name other columns: {OPTION}action=…"
        )
    choices = _occurring(values, numbered) if wanted is None else wanted
    if len(choices) > MOST_CHOICES:
        raise DataError(
            f"{problems.where}: action {name} would have more than {MOST_CHOICES} choices: it looks like "
            f"an amount or an id. Cut it into a few choices, or name the columns of the action: {OPTION}action=…"
        )
    code = _codes(values, choices, name, problems)
    bad = (code < 0) & ~np.asarray(array.is_null())
    if wanted is not None:
        shown = ", ".join(map(repr, choices[:8])) + (", …" if len(choices) > 8 else "")
        problems.add_entries(bad, lambda r: f"has {values[r].as_py()!r} in {name}; its choices are {shown}", UNKNOWN)
    else:  # only numbers below 0 in a list
        problems.add_entries(bad, lambda r: f"has {values[r].as_py()!r} in {name}", BELOW)
    return np.maximum(code, 0).astype(np.int32), choices


def _occurring(values: pa.Array, numbered: bool) -> Choices:
    """The choices of a slot from what occurs in it, in their order."""
    if pa.types.is_boolean(values.type):
        return (False, True)
    if is_text(values.type):
        return tuple(sort_names(pc.unique(values.drop_null()).to_pylist()))
    if numbered:
        return tuple(range(min(max(pc.max(values).as_py(), 0), MOST_CHOICES) + 1))
    return tuple(np.unique(np.asarray(values)).tolist())


def _codes(values: pa.Array, choices: Choices, name: str, problems: Problems) -> np.ndarray:
    """The place of each value among the choices, -1 for those that are not there."""
    if not len(choices):
        return np.full(len(values), -1)
    if choices == tuple(range(len(choices))) and pa.types.is_integer(values.type):
        numbers = np.asarray(values)
        return np.where((numbers >= 0) & (numbers < len(choices)), numbers, -1)
    kinds = {type(choice) for choice in choices}
    right = {str} if is_text(values.type) else {bool} if pa.types.is_boolean(values.type) else {int}
    if kinds != right:
        raise DataError(
            f"{problems.where}: {OPTION}choices gives {name} the choice {choices[0]!r}, but the column holds "
            f"{'text' if str in right else 'true and false' if bool in right else 'numbers'}: write them alike."
        )
    place = pc.index_in(values, value_set=pa.array(choices, type=values.type))
    return place.fill_null(-1).to_numpy(zero_copy_only=False)


def whole_numbers(array: pa.Array, name: str, problems: Problems, hint: str = CUT) -> np.ndarray:
    """[R] int64 of an array of numbers; entries that are not whole are reported and become 0, as empty ones do."""
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    numbers = array.fill_null(0).to_numpy(zero_copy_only=False)
    if numbers.dtype.kind == "f":
        nan = np.isnan(numbers)
        problems.add_entries(nan, lambda r: f"has {numbers[r]} in {name}", EMPTY)
        broken = ~nan & ~((numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**53))
        problems.add_entries(broken, lambda r: f"has {numbers[r]} in {name}, which is no whole number", hint)
        numbers = np.where(nan | broken, 0, numbers)
    return numbers.astype(np.int64)


def sort_names(names: list[str]) -> list[str]:
    """Texts in order: as numbers if all of them are, otherwise as text."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)
