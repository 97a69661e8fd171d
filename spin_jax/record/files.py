"""Writes files so that readers see the old one or the new one, never through a link; reads them or says what is wrong.

A file is first written beside its place, under a name that nobody can know before, and then takes that place. A killed
process leaves such a file behind; the next one that writes to the same place removes it.
"""

import contextlib
import fcntl
import glob
import json
import os
import pathlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, TextIO

from spin_jax.errors import UserError

NUMBER = (int, float)
KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class Each(NamedTuple):
    """An object or a list (`kind`) of which each value is `of`."""

    kind: type
    of: Any


Fields = Mapping[str, Any]  # what an object must have: {name: need}
Need = type | tuple | Fields | Each  # of a value; a tuple of types means one of them


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Yields a new file, open for writing, that becomes `path` at the end; after an error `path` stays as it was.

    Its `name` is its path until then. A link at `path` is replaced, not followed.
    """
    with _new_file(path) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def _new_file(path: pathlib.Path) -> BinaryIO:
    """A new file beside `path`, locked as long as it is open; those of dead processes are removed first."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            _remove_if_unlocked(left)
    while True:
        file = open(path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp"), "x+b")  # noqa: SIM115  (for the caller)
        with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # otherwise another process has removed it before it was locked
            return file
        file.close()


def _remove_if_unlocked(path: pathlib.Path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file at once."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes text as UTF-8 at once."""
    write_bytes(path, text.encode())


def write_json(path: pathlib.Path, values: dict) -> None:
    """Writes JSON at once."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def appending(path: pathlib.Path) -> TextIO:
    """Opens a text file to append to it; raises OSError if it is a link."""
    return open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))


def read_bytes(path: pathlib.Path, error: type[UserError], way_out: str) -> bytes:
    """The content of a file; raises `error`, which names the file, what is wrong with it, and the way out."""
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise error(f"{path} is {'a directory' if path.is_dir() else 'a pipe or a device'}, not a file. {way_out}")
        return path.read_bytes()
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror}). {way_out}") from problem


def read_text(path: pathlib.Path, error: type[UserError], way_out: str) -> str:
    """The text of a file; raises `error` as `read_bytes` does, and if it is not UTF-8."""
    try:
        return read_bytes(path, error, way_out).decode("utf-8")
    except UnicodeDecodeError:
        raise error(f"{path} is damaged: it is not text in UTF-8. {way_out}") from None


def read_json(path: pathlib.Path, error: type[UserError], way_out: str, fields: Fields) -> dict:
    """The JSON object in a file, which must have the `fields`; raises `error` as `read_text` and `check_fields` do."""
    text = read_text(path, error, way_out)
    if not text.strip():
        raise error(f"{path} is empty. {way_out}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is cut off or damaged: it is not JSON ({problem}). {way_out}") from None
    check_fields(values, fields, str(path), error, way_out)
    return values


def check_fields(value: Any, need: Need, where: str, error: type[UserError], way_out: str, name: str = "") -> None:
    """Raises `error` if a value of JSON is not what is needed; `where` begins its message, `name` says which value."""
    kinds = need.kind if isinstance(need, Each) else dict if isinstance(need, Mapping) else need
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if type(value) not in kinds:
        wanted = " or ".join(KINDS[kind] for kind in kinds if kind is not int or float not in kinds)
        raise error(f"{where} is damaged: {name or 'it'} is {KINDS[type(value)]}, not {wanted}. {way_out}")
    inner: Mapping = need if isinstance(need, Mapping) else {}
    if isinstance(need, Each):
        inner = dict.fromkeys(value if isinstance(value, dict) else range(len(value)), need.of)
    for key, kind in inner.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict) and key not in value:
            raise error(f"{where} is damaged: it has no {path}. {way_out}")
        check_fields(value[key], kind, where, error, way_out, path)
