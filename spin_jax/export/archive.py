"""The archives of the formats jax and numpy: `.npz` files of plain arrays, with a JSON header among them."""

import json
import pathlib
import zipfile
from typing import BinaryIO

import numpy as np

from spin_jax.errors import DataError

PROGRAM = "program:"  # begins the names of programs


def write_archive(file: BinaryIO, header: dict, arrays: dict[str, np.ndarray]) -> None:
    """Writes header and arrays into one open file."""
    np.savez(file, header=np.array(json.dumps(header)), allow_pickle=False, **arrays)


def read_header(path: pathlib.Path) -> dict:
    """The header of an archive; raises DataError if the file has none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
        return header if isinstance(header, dict) else {}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no export of a policy ({error}).") from error
