"""A checkpoint that somebody hands over reads nothing outside of its directory.

TensorStore sees to that: it refuses every file of an OCDBT manifest whose path leads up or begins at the root. The
manifests here are written by hand, in the published format; the control shows that they are valid ones.
"""

import re
import shutil
import struct

import numpy as np
import pytest

from spin_jax.errors import CheckpointError
from spin_jax.record.checkpoint import CheckpointStore

MINE, THEIRS = {"x": np.arange(5000, dtype=np.float32)}, {"x": np.full(5000, -1, np.float32)}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 & -(crc & 1)
    return crc ^ 0xFFFFFFFF


def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def write_manifest(arrays, base, root):
    """A manifest in the directory `arrays`, not compressed: its tree's root is the file `root`, below `base`."""
    path = base.encode() + b"d/" + root.name.encode()
    size = varint(root.stat().st_size)
    config = bytes(16) + b"\x00" + varint(1024) + varint(100_000_000) + b"\x04\x01" + bytes(4)
    files = varint(1) + varint(len(path)) + varint(len(base)) + path
    versions = b"\x01\x01\x00\x00\x00" + size + varint(2) + size + b"\x00" + struct.pack("<Q", 1) + b"\x00"
    body = b"\x00\x00" + config + files + versions
    whole = struct.pack(">I", 0x0CDB3A2A) + struct.pack("<Q", 12 + len(body) + 4) + body
    (arrays / "manifest.ocdbt").write_bytes(whole + struct.pack("<I", crc32c(whole)))


@pytest.fixture
def checkpoints(tmp_path):
    """(directory of the arrays of mine, that of theirs): mine has the record of theirs, so that its checksum fits."""
    for name, tree in (("mine", MINE), ("theirs", THEIRS)):
        CheckpointStore(tmp_path / name).save(0, tree, {})
    mine, theirs = (tmp_path / name / "0" / "arrays" for name in ("mine", "theirs"))
    shutil.copytree(theirs.parent / "record", mine.parent / "record", dirs_exist_ok=True)
    return mine, theirs


def restored(arrays):
    return np.asarray(CheckpointStore(arrays.parent.parent).restore(THEIRS)["x"])


def test_a_manifest_by_hand_is_read_if_it_stays_inside(checkpoints):
    mine, theirs = checkpoints
    shutil.copytree(theirs, mine / "inner")
    (root,) = (theirs / "d").iterdir()
    write_manifest(mine, "inner/", root)
    np.testing.assert_array_equal(restored(mine), THEIRS["x"])


@pytest.mark.parametrize(
    "base", ["../../../theirs/0/arrays/", "d/../../../../theirs/0/arrays/", "{theirs}/", "file://{theirs}/"]
)
def test_a_manifest_that_points_out_of_its_directory_is_refused(checkpoints, base):
    mine, theirs = checkpoints
    (root,) = (theirs / "d").iterdir()
    write_manifest(mine, base.format(theirs=theirs), root)
    with pytest.raises(CheckpointError, match="mine/0 is damaged or incomplete and cannot be read") as refused:
        restored(mine)
    path = re.escape(f"{mine}/{base.format(theirs=theirs)}d/{root.name}")
    assert re.search(f"Invalid key: .{path}", str(refused.value.__cause__))
