"""The data set of a simulated task: what killed calls left is removed, and a damaged roll-out is named."""

import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from spin_jax.collect import simulated_log
from spin_jax.collect.simulated_log import SimulatedConfig, dataset_directory, prepare
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import DataError

CONFIG = SimulatedConfig(task="cheetah_run", bins=3, episodes=1)
LEVELS = TASKS["cheetah_run"].levels


def make_pieces(tmp_path, version):
    """A folder with the roll-outs of all levels, of 5 steps each, so that nothing is played."""
    folder = tmp_path / "data" / ".factorised_dmc_pieces" / f"{CONFIG.name}-{version}"
    for level in LEVELS:
        (folder / level).mkdir(parents=True)
        np.savez(
            folder / level / "0000000.npz",
            observation=np.zeros((6, 17), np.float32),
            action=np.zeros((5, 6), np.int32),
            reward=np.zeros(5, np.float32),
            length=[5],
            terminal=[False],
        )
    return folder


@pytest.fixture
def pieces(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return make_pieces(tmp_path, "1.0.0")


def test_a_log_of_exchanged_policies_has_a_version_of_its_own(pieces, tmp_path, monkeypatch):
    """So neither the old log nor what was played for it is taken for the new one."""
    prepare(tmp_path / "data", CONFIG, 0)
    monkeypatch.setitem(simulated_log.VERSIONS, "cheetah_run", "7.0.0")
    newer = SimulatedConfig(task="cheetah_run", bins=3, episodes=1)
    directory = dataset_directory(tmp_path / "data", newer)
    assert directory.name == "7.0.0"
    make_pieces(tmp_path, "7.0.0")
    prepare(tmp_path / "data", newer, 0)
    assert sorted(path.name for path in directory.parent.iterdir()) == ["1.0.0", "7.0.0"]
    assert tfds.builder_from_directory(directory).version == "7.0.0"


def test_what_killed_calls_left_is_removed(pieces, tmp_path, monkeypatch):
    """Of one killed while TFDS wrote, and of one killed when the data set was there already."""
    data = tmp_path / "data"
    directory = dataset_directory(data, CONFIG)
    (directory.parent / "incomplete.ABCDEF_1.0.0").mkdir(parents=True)
    cards = prepare(data, CONFIG, 0)
    assert [cards[level]["transitions"] for level in LEVELS] == [5] * len(LEVELS)
    clean = sorted(path.name for path in data.iterdir())
    assert clean == ["downloads", "factorised_dmc"]  # TFDS makes the first, and leaves it empty
    assert [path.name for path in directory.parent.iterdir()] == ["1.0.0"]
    assert not list((tmp_path / "tmp").iterdir())
    pieces.mkdir(parents=True)
    (data / f".factorised_dmc_{CONFIG.name}.lock").write_text("process 0 on nowhere")
    assert prepare(data, CONFIG, 0) == cards
    assert sorted(path.name for path in data.iterdir()) == clean
    pieces.mkdir(parents=True)
    monkeypatch.setattr(simulated_log.os, "access", lambda *_: False)  # a data set that others own is left alone
    assert prepare(data, CONFIG, 0) == cards
    assert pieces.exists()


def test_a_damaged_roll_out_is_named_and_the_others_are_kept(pieces, tmp_path):
    path = pieces / "expert" / "0000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{path} is damaged .*Delete it: the same command plays it again"):
        prepare(tmp_path / "data", CONFIG, 0)
    assert sorted(inner.parent.name for inner in pieces.rglob("*.npz")) == sorted(LEVELS)
    assert not dataset_directory(tmp_path / "data", CONFIG).exists()
