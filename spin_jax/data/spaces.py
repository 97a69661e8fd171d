"""The spaces of a prepared data set: spaces.json beside its shards has the names of features, slots and choices."""

import os
import pathlib

from spin_jax.errors import DataError
from spin_jax.record.files import Each, Fields, check_fields, read_json, write_json
from spin_jax.types import Feature, Spaces

FILE = "spaces.json"
FIELDS: Fields = {"features": Each(list, dict), "slots": Each(list, str), "choices": Each(list, list)}
WAY_OUT = "Restore it from a copy, or make it anew."


def to_json(spaces: Spaces) -> dict:
    """The spaces as values of JSON."""
    return {
        "features": [feature._asdict() for feature in spaces.features],
        "slots": list(spaces.slots),
        "choices": [list(names) for names in spaces.choices],
    }


def from_json(values: dict, where: object) -> Spaces:
    """The inverse of `to_json`; raises DataError, which begins with `where`, if `values` are not spaces."""
    check_fields(values, FIELDS, str(where), DataError, WAY_OUT)
    try:
        features = tuple(Feature(**feature) for feature in values["features"])
        spaces = Spaces(features, tuple(values["slots"]), tuple(tuple(names) for names in values["choices"]))
        if not features or len(spaces.slots) != spaces.spec.num_slots:
            raise ValueError(f"{len(features)} features, {len(spaces.slots)} slots, {len(spaces.choices)} of choices")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} does not hold features, slots and their choices ({error}). {WAY_OUT}") from error
    return spaces


def write_spaces(directory: pathlib.Path, spaces: Spaces) -> None:
    """Writes spaces.json into the directory of a data set."""
    write_json(directory / FILE, to_json(spaces))


def read_spaces(directory: pathlib.Path) -> Spaces | None:
    """The spaces of the data set in `directory`; None if it has no spaces.json. Raises DataError on a damaged one."""
    path = directory / FILE
    if not os.path.lexists(path):
        return None
    return from_json(read_json(path, DataError, WAY_OUT, {}), path)
