"""What the folder of a data set may ask of TFDS: to make TFDS's own features, and to read shards inside the folder.

TFDS imports the module of every feature class that features.json or dataset_info.json names, at any depth, also in
JSON inside of strings. So whoever makes a data set could run code where it is read, unless the names are read first.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from spin_jax.errors import DataError

_KINDS: list[type[tfds.features.FeatureConnector]] = [
    kind
    for kind in vars(tfds.features).values()
    if isinstance(kind, type) and issubclass(kind, tfds.features.FeatureConnector)
]
FEATURES = {name for kind in _KINDS for name in (f"{kind.__module__}.{kind.__name__}", *kind.ALIASES)}


def check_features(directory: pathlib.Path) -> None:
    """Raises DataError if the folder names a feature class that is not TFDS's own; TFDS has not seen it before.

    A file that is missing is left to TFDS; one that cannot be read raises DataError, too.
    """
    for name in ("dataset_info.json", "features.json"):
        path = directory / name
        if not path.exists():
            continue
        try:
            kinds = sorted(set(_class_names(json.loads(path.read_text("utf-8")))) - FEATURES)
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{directory} is not a TFDS data set: {name} cannot be read ({error}).") from error
        if kinds:
            raise DataError(
                f"{path} asks for the feature class {kinds[0]!r}, which would run code that is not TFDS's "
                f"own. Only the classes of tfds.features are read: write the data set with those, or as a table."
            )


def _class_names(value: Any) -> Iterator[str]:
    """The names of feature classes in a JSON value, in all forms that TFDS reads (`type` is that of old versions)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            named = key in ("pythonClassName", "python_class_name") or (key == "type" and "content" in value)
            yield from [inner] if named and isinstance(inner, str) else _class_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _class_names(inner)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            yield from _class_names(json.loads(value))
        except ValueError:  # a text that only looks like JSON
            return


def check_shards_inside(builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError if a split's shards lie outside of the data set's folder, as names and templates can say."""
    folder = pathlib.Path(builder.data_path)
    for name, split in builder.info.splits.items():
        for path in split.filepaths:
            if pathlib.Path(path).parent != folder:
                raise DataError(f"{folder}: split {name!r} names a shard outside of this folder, {path}.")
