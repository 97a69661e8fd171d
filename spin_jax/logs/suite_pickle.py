"""Reads the published suite's files safely: Python pickles of a list of (state, action, reward, next_state, done).

A pickle can name any function of any package and have it called. This reader accepts only the names that pickled numpy
arrays and numbers need, and replaces each of them by a few lines below that copy plain numbers. So no code that the
file names is ever run, and numpy never gets a type description from the file unchecked.
"""

import io
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from spin_jax.errors import DataError
from spin_jax.logs.problems import Problems

FIELDS = ("state", "action", "reward", "next_state", "done")


class _DType:
    """Stands for numpy.dtype(name, align, copy) and its state (version, byte order, …); numbers and booleans only."""

    def __init__(self, name: str, *_):
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "biuf":
            raise DataError(f"it holds an array of type {name!r}; only numbers and booleans are read")

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for the array that numpy's _reconstruct makes; state: (version, shape, dtype, Fortran order, bytes)."""

    def __setstate__(self, state):
        _, shape, kind, fortran, raw = state
        self.value = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if fortran else "C")


def _from_buffer(raw, kind, shape, order) -> _Array:
    array = _Array()
    array.value = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise DataError(f"it holds text in {encoding!r}; old pickles keep their bytes in latin1")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): None,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = lambda *_: _Array()
    ALLOWED[f"{_core}.multiarray", "scalar"] = lambda kind, raw: np.frombuffer(raw, kind.dtype, 1)[0]
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _from_buffer  # protocol 5


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise DataError(f"it asks for {module}.{name}, which is no part of an array or a number")
        return ALLOWED[module, name]

    def persistent_load(self, pid):
        raise DataError(f"it refers to an object outside of the file ({pid!r})")


class _Counted(io.FileIO):
    """A file that reports how many of its bytes have been read."""

    def __init__(self, path: pathlib.Path, on_bytes: Callable[[int], None]):
        super().__init__(path)
        self._on_bytes = on_bytes

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self._on_bytes(self.tell())
        return count


def load_pickle(path: pathlib.Path, on_bytes: Callable[[int], None] = lambda count: None) -> object:
    """The content of a pickle of lists, tuples, numbers and arrays; on_bytes(bytes read so far) is called as it reads.

    Raises DataError if the file is no pickle, is cut short, or names anything else; nothing that it names is run.
    """
    try:
        with io.BufferedReader(_Counted(path, on_bytes), 1 << 20) as file:
            value = _Unpickler(file).load()
            if file.read(1):
                raise DataError("something follows after the list")
            return value
    except DataError as error:
        raise DataError(f"{path} is refused: {error}. Nothing of the file was run, nothing was written.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{path} is not a whole pickle of arrays ({type(error).__name__}: {error}).") from error


def suite_columns(
    path: pathlib.Path,
    widths: tuple[int, int] | None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> dict[str, np.ndarray]:
    """The columns of a file of the suite, for `check_columns`; its `done` is the column `terminal`.

    widths: (S, N), or None = as in the first row. Raises DataError as `load_pickle` does, and on rows of another form,
    which it names.
    """
    rows = load_pickle(path, on_bytes)
    if not isinstance(rows, list) or not rows:
        found = "an empty list" if isinstance(rows, list) else f"a {type(rows).__name__}"
        raise DataError(f"{path} holds {found}, not a list of ({', '.join(FIELDS)}).")
    need: tuple[int, ...] = (widths[0], widths[1], 1, widths[0], 1) if widths else ()
    problems = Problems(path)
    columns: tuple[list, ...] = tuple([] for _ in FIELDS)
    for i, row in enumerate(rows):
        try:
            values = [np.ravel(v.value if isinstance(v, _Array) else v) for v in row]
        except (TypeError, ValueError, AttributeError):  # no sequence, or ragged inside
            values = []
        sizes = tuple(v.size for v in values)
        if len(sizes) != len(FIELDS) or any(v.dtype.kind not in "biuf" for v in values):
            problems.add(i, f"is not ({', '.join(FIELDS)}) of numbers")
            continue
        need = need or (*sizes[:2], 1, sizes[0], 1)
        if sizes != need:
            wrong = next(k for k in range(len(FIELDS)) if sizes[k] != need[k])
            problems.add(i, f"has {FIELDS[wrong]} of width {sizes[wrong]}, needed {need[wrong]}")
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    problems.check()
    state, action, reward, next_state, ended = (np.stack(column) for column in columns)
    return {
        "observation": state,
        "action": action,
        "reward": reward[:, 0],
        "terminal": ended[:, 0],
        "timeout": np.zeros(len(rows), bool),
        "next_observation": next_state,
    }
