"""What a stage was trained on: it records digests when it begins, and every later start must find the same ones."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from spin_jax.errors import WorkdirError
from spin_jax.record.files import Each, check_fields, read_json, write_json

FILE = "inputs.json"


class Input(NamedTuple):
    """A thing that a stage reads: the SHA-256 of its content, and for people the place where it was found."""

    digest: str
    where: str


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, about 1 GB a second; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_inputs(directory: pathlib.Path, inputs: Mapping[str, Input]) -> None:
    """Writes down what the stage in `directory` is trained on; inputs: {name, such as 'log': Input}."""
    write_json(directory / FILE, {name: one._asdict() for name, one in inputs.items()})


def compare_inputs(directory: pathlib.Path, inputs: Mapping[str, Input]) -> None:
    """Raises WorkdirError, with both digests, if the stage in `directory` was trained on something else.

    Stages of versions that recorded nothing pass.
    """
    path = directory / FILE
    recorded = _recorded(path) if path.exists() else {}
    for name in sorted(inputs.keys() & recorded.keys()):
        then, now = Input(**recorded[name]), inputs[name]
        if then.digest != now.digest:
            raise WorkdirError(
                f"{directory} was trained on another {name}: then {then.digest[:12]} ({then.where}), now "
                f"{now.digest[:12]} ({now.where}). Put back the {name} that was there, or use another --workdir."
            )


def _recorded(path: pathlib.Path) -> dict:
    way_out = "Restore it from a copy; or delete it, if log and ASM are still those that training began with."
    found = read_json(path, WorkdirError, way_out, {})
    check_fields(found, Each(dict, {"digest": str, "where": str}), str(path), WorkdirError, way_out)
    return found
