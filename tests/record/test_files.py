"""Files are replaced at once and never through a link; a damaged one is refused by name with the way out."""

import os
import pathlib
import signal
import stat
import subprocess
import sys

import pytest

from spin_jax.errors import DataError
from spin_jax.record.files import NUMBER, Each, appending, read_json, replacing, write_json, write_text

WAY_OUT = "Delete it."
FIELDS = {"seconds": NUMBER, "of": {"a": (list, type(None))}, "returns": Each(list, NUMBER), "levels": Each(dict, str)}
GOOD = {"seconds": 1, "of": {"a": None}, "returns": [1, 2.5], "levels": {"medium": "m"}}


def test_a_link_is_replaced_and_never_written_through(tmp_path):
    """Also the link at the name that earlier versions wrote to first."""
    outside = tmp_path / "outside"
    outside.write_text("precious")
    for name in ("summary.json", "summary.json.tmp"):
        (tmp_path / name).symlink_to(outside)
    write_json(tmp_path / "summary.json", {"seconds": 1})
    assert outside.read_text() == "precious"
    assert not (tmp_path / "summary.json").is_symlink()
    assert read_json(tmp_path / "summary.json", DataError, WAY_OUT, {}) == {"seconds": 1}
    (tmp_path / "rows").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"):
        appending(tmp_path / "rows")


def test_names_are_different_each_time_and_the_mode_is_the_users(tmp_path):
    names = []
    for _ in range(2):
        with replacing(tmp_path / "file") as file:
            names.append(file.name)
    assert names[0] != names[1]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path):
    write_text(tmp_path / "file", "old")

    def fail():
        with replacing(tmp_path / "file") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_what_a_killed_process_left_is_removed_but_not_what_another_writes(tmp_path):
    code = f"""
import pathlib, sys
from spin_jax.record.files import replacing
with replacing(pathlib.Path({str(tmp_path / "file")!r})) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    write_text(tmp_path / "file", "mine")
    (left,) = tmp_path.glob(".file.*.tmp")  # the other process still writes it
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_text(tmp_path / "other", "")
    assert left.exists()
    write_text(tmp_path / "file", "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


def make_directory(path: pathlib.Path):
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda p: p.write_text('{"seconds": 1'), "is cut off or damaged: it is not JSON"),
        (lambda p: p.write_text(""), "is empty"),
        (lambda p: p.write_text("[" * 100_000), "is cut off or damaged: it is not JSON"),
        (lambda p: p.write_text("[1]"), "is damaged: it is a list, not an object"),
        (lambda p: p.write_text("null"), "is damaged: it is null, not an object"),
        (lambda p: p.write_bytes(b'{"a": "\xff"}'), "is damaged: it is not text in UTF-8"),
        (lambda p: p.write_text("{}"), "is damaged: it has no seconds"),
        (lambda p: write_json(p, GOOD | {"seconds": "long"}), "is damaged: seconds is a text, not a number"),
        (lambda p: write_json(p, GOOD | {"seconds": True}), "is damaged: seconds is true or false, not a number"),
        (lambda p: write_json(p, GOOD | {"of": 3}), "is damaged: of is a whole number, not an object"),
        (lambda p: write_json(p, GOOD | {"of": {}}), "is damaged: it has no of.a"),
        (lambda p: write_json(p, GOOD | {"of": {"a": 1}}), "is damaged: of.a is a whole number, not a list or null"),
        (lambda p: write_json(p, GOOD | {"returns": [1, None]}), "is damaged: returns.1 is null, not a number"),
        (lambda p: write_json(p, GOOD | {"levels": {"m": 1}}), "is damaged: levels.m is a whole number, not a text"),
        (make_directory, "is a directory, not a file"),
        (os.mkfifo, "is a pipe or a device, not a file"),
        (lambda p: p.symlink_to(p), "cannot be read"),
        (lambda p: p.symlink_to("nowhere"), r"cannot be read \(No such file or directory\)"),
    ],
)
def test_a_file_that_lies_is_refused_by_name_with_the_way_out(tmp_path, damage, what):
    path = tmp_path / "summary.json"
    write_json(path, GOOD)
    assert read_json(path, DataError, WAY_OUT, FIELDS) == GOOD
    path.unlink()
    damage(path)
    with pytest.raises(DataError, match=f"^{path} {what}.*{WAY_OUT}$") as raised:
        read_json(path, DataError, WAY_OUT, FIELDS)
    assert "\n" not in str(raised.value)
