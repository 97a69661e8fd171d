"""Our data sets as Minari data sets: Minari opens them, and our import reads them back equal."""

import json
import subprocess
import sys

import numpy as np
import pytest

from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.spaces import from_json, read_spaces
from spin_jax.errors import DataError
from spin_jax.export.log_to_minari import log_to_minari
from spin_jax.logs.column_map import BY_USUAL_NAMES
from spin_jax.logs.import_table import import_frame, import_table
from spin_jax.types import Episode

minari = pytest.importorskip("minari", reason="the extra minari is not installed")


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        for part in Episode._fields:
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """12 episodes of 5 steps, every third of which a time limit ends; slots of 2 words and of 3 numbers."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    rng, rows = np.random.default_rng(0), 60
    end = np.arange(rows) % 5 == 4
    table = {
        "observation": rng.normal(size=(rows, 3)).astype(np.float32),
        "next_observation": rng.normal(size=(rows, 3)).astype(np.float32),
        "slot_drug": np.array(["aspirin", "none"])[np.arange(rows) % 2],
        "slot_dose": 7 + rng.permutation(rows) % 3,
        "reward": rng.normal(size=rows).astype(np.float32),
        "terminal": end & (np.arange(rows) % 3 > 0),
        "timeout": end & (np.arange(rows) % 3 == 0),
        "propensity": rng.uniform(0.1, 1, rows).astype(np.float32),
    }
    table["observation"][1:][~end[:-1]] = table["next_observation"][:-1][~end[:-1]]
    return import_frame(table, BY_USUAL_NAMES, tmp_path / "data", "log")


def test_a_log_reads_back_equal(tmp_path, data_set):
    path = log_to_minari(data_set, "train", "ward/log-v0")
    logged = list(EpisodeSource(str(data_set), "train"))
    assert {episode.terminal for episode in logged} == {True, False}
    again = import_table(path, BY_USUAL_NAMES, tmp_path / "again")
    assert_equal(list(EpisodeSource(str(again), "train")), logged)

    opened = minari.load_dataset("ward/log-v0")
    assert (opened.total_episodes, opened.total_steps) == (12, 60)
    assert opened.action_space.nvec.tolist() == [2, 3]
    for found, expected in zip(opened.iterate_episodes(), logged, strict=True):
        np.testing.assert_array_equal(found.observations, expected.observation)
        np.testing.assert_array_equal(found.actions, expected.action)
        np.testing.assert_array_equal(found.infos["propensity"][1:], expected.propensity)
        assert (found.terminations[-1], found.truncations[-1]) == (expected.terminal, not expected.terminal)
    spaces = from_json(json.loads(opened.storage.metadata["description"]), "description")
    assert spaces == read_spaces(data_set)


def test_part_of_a_log_and_choices_without_names(tmp_path, data_set):
    """Without spaces.json the largest choice that occurs says how many there are."""
    (data_set / "spaces.json").unlink()
    log_to_minari(data_set, "train[:4]", "part-v0")
    opened = minari.load_dataset("part-v0")
    logged = list(EpisodeSource(str(data_set), "train[:4]"))
    assert opened.total_episodes == 4
    largest = np.concatenate([episode.action for episode in logged]).max(0)
    np.testing.assert_array_equal(opened.action_space.nvec, largest + 1)


def test_what_cannot_be_written_leaves_nothing(tmp_path, data_set, monkeypatch):
    log_to_minari(data_set, "train", "log-v0")
    with pytest.raises(DataError, match="log-v0 is there already and stays as it is. Choose another --id"):
        log_to_minari(data_set, "train", "log-v0")
    with pytest.raises(DataError, match="--id='no version'"):
        log_to_minari(data_set, "train", "no version")
    with pytest.raises(DataError, match="Splits there: train"):
        log_to_minari(data_set, "medium", "other-v0")
    with monkeypatch.context() as patch:
        patch.setattr("spin_jax.data.cards.file_digest", lambda path: "of another file")
        with pytest.raises(DataError, match="is not the file that card_train"):
            log_to_minari(data_set, "train", "other-v0")

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minari.create_dataset_from_buffers", fail)
    with pytest.raises(KeyboardInterrupt):
        log_to_minari(data_set, "train", "other-v0")
    assert [path.name for path in (tmp_path / "minari").iterdir()] == ["log-v0"]


def test_the_command(tmp_path, data_set):
    command = [sys.executable, "-m", "spin_jax.export.log_to_minari", str(data_set), "--id=ward/log-v1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "minari" / "ward" / "log-v1") in done.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.strip().splitlines()[-1].startswith("error: ")
