"""Any table comes in as a log, once, in every format, and reads back equal."""

import json
import re
import tempfile
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.spaces import read_spaces
from spin_jax.errors import DataError
from spin_jax.logs import data_set
from spin_jax.logs import import_table as import_table_module
from spin_jax.logs.column_map import BY_USUAL_NAMES, ColumnConfig
from spin_jax.logs.import_table import import_frame, import_table
from spin_jax.types import Feature

NUMBERS = (Feature("age"), Feature("pulse"), Feature("pressure"))


def save(table, path):
    """The table as a file of the format that its suffix names."""
    if path.suffix == ".npz":
        np.savez(path, **table)
    elif path.suffix == ".csv":
        pa.csv.write_csv(pa.table(table), path)
    else:
        pa.parquet.write_table(pa.table(table), path, row_group_size=1000)
    return path


def read(directory):
    return list(EpisodeSource(str(directory), "train"))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "npz"])
def test_a_table_that_nobody_prepared_reads_back_equal(tmp_path, ward, expect_ward, caplog, suffix):
    table = ward()
    path = save(table, tmp_path / f"my ward.{suffix}")
    caplog.set_level("INFO", "spin_jax")
    directory = import_table(path, BY_USUAL_NAMES, tmp_path / "data")
    assert re.fullmatch(r"imported_log/my_ward-[0-9a-f]{12}/1.0.0", str(directory.relative_to(tmp_path / "data")))
    expect_ward(read(directory), table)
    spaces = read_spaces(directory)
    assert spaces.features == NUMBERS
    assert spaces.slots == ("slot_drug", "slot_dose", "slot_ward")
    assert spaces.choices[:2] == (("aspirin", "none"), tuple(f"{d} mg" for d in (0, 10, 160, 20, 40, 5, 80)))
    card = json.loads((directory / "card_train.json").read_text())
    assert (card["transitions"], card["episodes"], card["cardinalities"]) == (20_000, 800, [2, 7, 100])
    page = (directory / "understood.txt").read_text()
    assert page.strip() in caplog.text
    assert f"({suffix}, 20000 rows, 9 columns)" in page
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["imported_log"]


def test_a_data_frame_and_arrays_read_back_equal(tmp_path, ward, expect_ward):
    """Categories of pandas are the texts that they stand for, its index is no column."""
    table = ward(500)
    frame = pd.DataFrame(table).astype({"slot_dose": "category"})
    frame.index = frame.index[::-1]
    directories = [import_frame(data, BY_USUAL_NAMES, tmp_path, "ward") for data in (table, frame, pa.table(table))]
    for directory in directories:
        expect_ward(read(directory), table)
        assert read_spaces(directory).features == NUMBERS
        assert "index" not in (directory / "understood.txt").read_text()
    table["reward"][7] += 1
    assert import_frame(table, BY_USUAL_NAMES, tmp_path, "ward") not in directories
    with pytest.raises(DataError, match="name '../x' of a log"):
        import_frame(table, BY_USUAL_NAMES, tmp_path, "../x")


def test_a_log_is_imported_once_unless_its_content_or_its_columns_change(tmp_path, ward, monkeypatch):
    path = save(ward(50), tmp_path / "ward.csv")
    choices = tmp_path / "choices.json"
    choices.write_text('{"slot_drug": ["none", "aspirin"]}')
    settings = BY_USUAL_NAMES, ColumnConfig(observation="age"), ColumnConfig(choices=str(choices))
    first = [import_table(path, columns, tmp_path) for columns in settings]
    assert len(set(first)) == 3
    monkeypatch.setattr(import_table_module, "read_log", None)  # nothing is read any more
    assert [import_table(path, columns, tmp_path) for columns in settings] == first
    monkeypatch.undo()
    choices.write_text('{"slot_drug": ["aspirin", "none"]}')
    assert import_table(path, settings[2], tmp_path) not in first
    save(ward(50, seed=1), path)
    assert import_table(path, BY_USUAL_NAMES, tmp_path) not in first


def test_of_several_processes_one_writes_and_the_others_wait(tmp_path, ward, monkeypatch):
    """A left-over of a killed import is removed."""
    path, written, write = save(ward(50), tmp_path / "ward.csv"), [], data_set._write
    directory = import_table(path, BY_USUAL_NAMES, tmp_path / "elsewhere").parent.name
    (tmp_path / f".importing_{directory}" / "imported_log" / directory / "1.0.0.incomplete").mkdir(parents=True)

    def slow(*arguments):
        written.append(arguments)
        everybody.wait(timeout=10)
        write(*arguments)

    everybody = threading.Barrier(2)
    monkeypatch.setattr(data_set, "_write", slow)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(import_table(path, BY_USUAL_NAMES, tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    everybody.wait(timeout=10)
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert len(set(found)) == 1
    assert not list(tmp_path.glob(".importing_*"))
    assert [path.name for path in found[0].parent.iterdir()] == ["1.0.0"]
    assert len(read(found[0])) == 2


def test_what_an_import_left_that_was_killed_at_its_end_is_removed(tmp_path, ward, monkeypatch):
    """Also nothing stays in the temporary directory."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    path, data = save(ward(50), tmp_path / "ward.csv"), tmp_path / "data"
    directory = import_table(path, BY_USUAL_NAMES, data)
    name = directory.parent.name
    (data / f".importing_{name}" / "imported_log").mkdir(parents=True)
    (data / f".importing_{name}.lock").write_text("process 0 on nowhere")
    assert import_table(path, BY_USUAL_NAMES, data) == directory
    assert [path.name for path in data.iterdir()] == ["imported_log"]
    assert not list((tmp_path / "tmp").iterdir())
    page = directory / "understood.txt"
    for lie in (page.unlink, page.mkdir):
        lie()
        with pytest.raises(DataError, match=f"{page} .*Move {directory.parent} away: .* is then imported again"):
            import_table(path, BY_USUAL_NAMES, data)


def test_files_of_a_directory_are_one_log_in_order(tmp_path, ward, expect_ward):
    table = ward(100)
    (tmp_path / "log").mkdir()
    for part, rows in enumerate((slice(0, 30), slice(30, 100))):  # the second episode goes on in the second file
        save({name: values[rows] for name, values in table.items()}, tmp_path / "log" / f"{part}.parquet")
    (tmp_path / "log" / "_SUCCESS").touch()
    directory = import_table(tmp_path / "log", BY_USUAL_NAMES, tmp_path)
    expect_ward(read(directory), table)
    assert "(parquet, 2 files, 100 rows" in (directory / "understood.txt").read_text()
    flags = {"obs": np.arange(4.0), "action": np.arange(4), "reward": np.zeros(4), "terminal": np.zeros(4)}
    following = {"next_obs": np.arange(1.0, 5)}
    (tmp_path / "cut").mkdir()
    save(flags | following, tmp_path / "cut" / "a.csv")
    save(flags | {"obs": np.arange(4.0, 8)} | {"next_obs": np.arange(5.0, 9)}, tmp_path / "cut" / "b.csv")
    found = read(import_table(tmp_path / "cut", BY_USUAL_NAMES, tmp_path))
    assert [len(episode.reward) for episode in found] == [4, 4]  # without an id nothing goes on in the next file


def test_rows_in_any_order_are_put_in_order_by_their_step(tmp_path, ward, expect_ward, same_episodes):
    """Episodes keep the order of their first row."""
    table = ward(200)
    table["t"] = np.tile(np.arange(25), 8)
    order = np.random.default_rng(0).permutation(200)
    order = order[np.argsort(order // 25 != 3, kind="stable")]  # a row of episode 3 comes first
    shuffled = {name: values[order] for name, values in table.items()}
    found = read(import_frame(shuffled, BY_USUAL_NAMES, tmp_path, "shuffled"))
    expected = read(import_frame(table, BY_USUAL_NAMES, tmp_path, "whole"))
    expect_ward(expected, table)
    appear = list(dict.fromkeys(order // 25))
    assert appear[0] == 3
    same_episodes(found, [expected[i] for i in appear])


def test_a_bandit_log_with_propensities_keeps_every_row(tmp_path):
    table = {
        "x": np.arange(5.0),
        "slot_a": np.array([0, 1, 1, 0, 1]),
        "reward": np.arange(5.0),
        "pscore": np.full(5, 0.25),
    }
    found = read(import_frame(table, ColumnConfig(episode="each_row"), tmp_path, "bandit"))
    assert [(len(e.reward), e.terminal, e.propensity.tolist()) for e in found] == [(1, True, [0.25])] * 5
    assert [e.reward[0] for e in found] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("flag", ["done", "truncated"])
def test_where_each_row_is_an_episode_flags_by_their_usual_names_say_nothing(tmp_path, flag):
    table = {"x": np.arange(6.0), "slot_a": np.arange(6) % 2, "reward": np.zeros(6), flag: np.array([0, 0, 1] * 2)}
    found = read(import_frame(table, ColumnConfig(episode="each_row"), tmp_path, "bandit"))
    assert [(len(e.reward), e.terminal) for e in found] == [(1, True)] * 6


@pytest.mark.parametrize(
    "times",
    [
        pa.array([3, 1, 2], pa.duration("us")),
        pa.array([300, 100, 200], pa.date32()),
        pa.array([253402214400, 0, 1], pa.timestamp("s")),  # the first is beyond the range of nanoseconds
    ],
)
def test_steps_may_be_times_of_any_unit(tmp_path, times):
    table = pa.table({"x": [3.0, 1, 2], "a": [0, 1, 1], "reward": [0.0] * 3, "episode": [0] * 3, "t": times})
    (episode,) = read(import_frame(table, ColumnConfig(observation="x", action="a"), tmp_path, "log"))
    np.testing.assert_array_equal(episode.observation[:, 0], [1, 2, 3, 3])


def test_categories_numbers_and_lists_become_features_and_slots(tmp_path):
    """Numbers are sorted as numbers, a list of numbers counts from 0, declared categories are one-hot."""
    table = pa.table({
        "obs": [[0.5, 2], [1.5, 7], [2.5, 2]],
        "ward": ["B", "A", "B"],
        "bed": [10, 9, 9],
        "action": [[0, 3], [1, 0], [0, 0]],
        "extra": [True, True, True],
        "level": ["10", "9", "9"],
        "reward": [0.0, 1.0, 2.0],
        "episode": ["a", "a", "b"],
    })  # fmt: skip
    columns = ColumnConfig(observation="obs,ward", action="action,bed,extra,level", categorical="ward,obs[1]")
    directory = import_frame(table, columns, tmp_path, "mixed")
    spaces = read_spaces(directory)
    names = ["obs[0]", "obs[1]=2", "obs[1]=7", "ward=A", "ward=B"]
    assert [feature.name for feature in spaces.features] == names
    assert spaces.slots == ("action[0]", "action[1]", "bed", "extra", "level")
    assert spaces.choices == ((0, 1), (0, 1, 2, 3), (9, 10), (False, True), ("9", "10"))
    first, second = read(directory)
    np.testing.assert_array_equal(first.observation, [[0.5, 1, 0, 0, 1], [1.5, 0, 1, 1, 0], [1.5, 0, 1, 1, 0]])
    np.testing.assert_array_equal(first.action, [[0, 3, 1, 1, 1], [1, 0, 0, 1, 0]])
    np.testing.assert_array_equal(second.observation, [[2.5, 1, 0, 0, 1]] * 2)


def test_choices_that_are_given_keep_their_order(tmp_path, ward):
    table = ward(50) | {"slot_level": np.array([1, 2] * 25)}
    given = {"slot_drug": ["none", "aspirin", "new"], "slot_level": 4}
    (tmp_path / "choices.json").write_text(json.dumps(given))
    directory = import_frame(table, ColumnConfig(choices=str(tmp_path / "choices.json")), tmp_path, "ward")
    spaces = read_spaces(directory)
    assert (spaces.choices[0], spaces.choices[3]) == (("none", "aspirin", "new"), (0, 1, 2, 3))
    action = np.concatenate([e.action for e in read(directory)])
    np.testing.assert_array_equal(action[:, 0], table["slot_drug"] == "aspirin")
    np.testing.assert_array_equal(action[:, 3], table["slot_level"])


def test_next_observations_in_columns_of_their_own_are_no_features(tmp_path):
    """next_x belongs to x, with the categories of both; a time limit then costs nothing."""
    table = {
        "x": np.arange(3.0), "kind": np.array(["a", "b", "a"]), "next_x": np.arange(1.0, 4), "reward": np.zeros(3),
        "next_kind": np.array(["b", "a", "c"]), "slot_a": np.arange(3), "truncated": np.array([False, False, True]),
    }  # fmt: skip
    directory = import_frame(table, ColumnConfig(categorical="kind"), tmp_path, "log")
    (episode,) = read(directory)
    assert [feature.name for feature in read_spaces(directory).features] == ["x", "kind=a", "kind=b", "kind=c"]
    np.testing.assert_array_equal(episode.observation[:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(episode.observation[-1], [3, 0, 0, 1])
    assert not episode.terminal


def test_a_missing_next_observation_is_not_known_also_where_it_has_categories(tmp_path):
    """Then the last transition of an episode that a time limit ended is left out."""
    table = {"x": [0.0, 1, 2], "kind": ["a", "b", "a"], "next_x": [1.0, 2, None], "next_kind": ["b", "a", None]}
    table |= {"action": [0, 1, 0], "reward": [0.0] * 3, "truncated": [0, 0, 1]}
    (episode,) = read(import_frame(pa.table(table), ColumnConfig(categorical="kind"), tmp_path, "log"))
    np.testing.assert_array_equal(episode.observation, [[0, 1, 0], [1, 0, 1], [2, 1, 0]])


@pytest.mark.parametrize(
    ("now", "later"),
    [(["ER", "3", "4"], [3, 4, None]), ([True, False, True], [0, 1, None]), ([3, 4, 3], ["4", "3", None])],
)
def test_categories_of_two_columns_are_compared_in_one_type(tmp_path, now, later):
    """A CSV's next_room holds whole numbers where ER, which stands in room, is never a next one."""
    table = pa.table({"room": now, "next_room": later, "action": [0, 1, 0], "reward": [0.0] * 3, "done": [0, 0, 1]})
    config = ColumnConfig(observation="room", categorical="room")
    (episode,) = read(import_frame(table, config, tmp_path, "log"))
    names = [feature.category for feature in read_spaces(next(tmp_path.glob("imported_log/*/1.0.0"))).features]
    np.testing.assert_array_equal(episode.observation[:-1].argmax(1), [names.index(room) for room in now])


def test_categories_without_any_value_are_named(tmp_path):
    table = pa.table({"ward": pa.array([None, None], pa.string()), "action": [0, 1], "reward": [0.0, 1.0]})
    with pytest.raises(DataError, match="has no ward"):
        import_frame(table, ColumnConfig(observation="ward", categorical="ward", episode="each_row"), tmp_path, "log")
