"""Importing: what went in comes out transition for transition, and nothing is ever overwritten."""

import hashlib
import json
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from configs.cheetah_run import get_config
from spin_jax import run as main
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.data.dataset import check_episodes
from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.transitions import transitions
from spin_jax.errors import DataError
from spin_jax.logs.import_log import import_log
from spin_jax.stages.make_data import load_data
from spin_jax.types import ActionSpec

ROOT = pathlib.Path(__file__).parent.parent.parent
S, N = 17, 6  # cheetah_run


def make_log(steps=1000, episodes=2, dtype=np.float64, seed=0):
    """(state, action, reward, next_state, done) with done at each time limit, as the published suite has them."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(episodes):
        states = rng.normal(size=(steps + 1, S)).astype(dtype)
        actions, rewards = rng.integers(0, 3, (steps, N)), rng.random(steps)
        rows += [(states[t], actions[t], float(rewards[t]), states[t + 1], t == steps - 1) for t in range(steps)]
    return rows


def write(path, rows, protocol=4):
    path.write_bytes(pickle.dumps(rows, protocol))
    return path


def as_columns(rows):
    names = ("observation", "action", "reward", "next_observation", "timeout")
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}
    return columns | {"terminal": np.zeros(len(rows), bool)}


def assert_transitions(found, rows):
    np.testing.assert_array_equal(found.observation, np.array([r[0] for r in rows], np.float32))
    np.testing.assert_array_equal(found.action, np.array([r[1] for r in rows]))
    np.testing.assert_array_equal(found.reward, np.array([r[2] for r in rows], np.float32))
    np.testing.assert_array_equal(found.next_observation, np.array([r[3] for r in rows], np.float32))


def snapshot(path):
    return {str(p.relative_to(path)): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(path.rglob("*"))}


@pytest.mark.parametrize(("protocol", "dtype"), [(2, np.float64), (4, np.float32), (5, np.float64)])
def test_a_file_of_the_suite_comes_back_transition_for_transition(tmp_path, protocol, dtype):
    rows = make_log(dtype=dtype)
    path = write(tmp_path / "cheetah-run-expert", rows, protocol)
    directory = import_log([path], tmp_path / "data", "cheetah_run", "expert", bins=3)
    assert directory == tmp_path / "data" / "imported_log" / "cheetah_run-3bins-expert" / "1.0.0"
    episodes = list(EpisodeSource(str(directory), "train"))
    check_episodes(episodes, ActionSpec((3,) * N), S, "here")
    assert [len(e.reward) for e in episodes] == [1000, 1000]
    assert_transitions(transitions(episodes), rows)
    card = json.loads((directory / "card_train.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = {"file": "cheetah-run-expert", "rows": 2000, "format": "suite", "sha256": digest}
    assert card["made_by"]["files"] == [record]
    assert card["made_by"]["ends"] == {
        "terminal": 2, "timeout": 0, "not_continuous": 0, "no_flag": 0, "dropped_transitions": 0,
    }  # fmt: skip
    assert card["return_mean"] == pytest.approx(sum(r[2] for r in rows) / 2, rel=1e-5)
    assert not list((tmp_path / "data").glob(".importing*"))


def test_an_id_that_two_files_have_is_of_two_episodes(tmp_path):
    rows = {"observation": np.zeros((3, S), np.float32), "action": np.zeros((3, N), int), "reward": np.zeros(3)}
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, **rows, episode=np.array([7, 7, 8]))
    directory = import_log([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path, "cheetah_run", "log", bins=3)
    assert [len(e.reward) for e in EpisodeSource(str(directory), "train")] == [2, 1, 2, 1]


def test_the_suites_done_ends_the_value_or_is_a_time_limit_as_configured(tmp_path):
    """Preset paper takes it for a terminal (published), quick for the time limit that it is in these tasks."""
    path = write(tmp_path / "log", make_log(5))
    directory = import_log([path], tmp_path, "cheetah_run", "expert", bins=3)
    for preset, last in (("paper", 0), ("quick", 1)):
        config = get_config(preset)
        config.data.update(path=str(directory), level="train", held_out=0.0)
        config.train.n_step = 1
        found = load_data(build(resolve(config))).train
        np.testing.assert_array_equal(found.discount, [1, 1, 1, 1, last] * 2)


def test_terminals_of_other_files_are_terminals_in_every_preset(tmp_path):
    columns = as_columns(make_log(5))
    np.savez(tmp_path / "log.npz", **columns | {"terminal": columns["timeout"], "timeout": columns["terminal"]})
    directory = import_log([tmp_path / "log.npz"], tmp_path, "cheetah_run", "expert", bins=3)
    config = get_config("quick")
    config.data.update(path=str(directory), level="train", held_out=0.0)
    config.train.n_step = 1
    np.testing.assert_array_equal(load_data(build(resolve(config))).train.discount, [1, 1, 1, 1, 0] * 2)


def test_rows_without_done_are_cut_where_they_do_not_continue(tmp_path):
    rows = [(*row[:4], False) for row in make_log(5, episodes=12)]
    directory = import_log([write(tmp_path / "log", rows)], tmp_path, "cheetah_run", "expert", bins=3)
    episodes = list(EpisodeSource(str(directory), "train"))
    assert [len(e.reward) for e in episodes] == [5] * 12
    assert_transitions(transitions(episodes), rows)  # in the order of the file


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize("with_next", [True, False])
def test_columns_come_back_from_files(tmp_path, kind, with_next):
    """Without next observations the last transition of each of the two cut-off episodes is not known."""
    rows = make_log(50)
    columns = as_columns(rows)
    if not with_next:
        del columns["next_observation"]
    path = tmp_path / f"log.{kind}"
    if kind == "npz":
        np.savez(path, **columns)
    else:
        table = {name: list(values) if values.ndim == 2 else values for name, values in columns.items()}
        pa.parquet.write_table(pa.table(table), path, row_group_size=7)
    directory = import_log([path], tmp_path, "cheetah_run", "mine", bins=3)
    found = transitions(list(EpisodeSource(str(directory), "train")))
    kept = rows if with_next else [row for row in rows if not row[4]]
    assert_transitions(found, kept)
    ends = json.loads((directory / "card_train.json").read_text())["made_by"]["ends"]
    assert ends["dropped_transitions"] == (0 if with_next else 2)


def test_parquet_rows_that_are_ragged_or_empty_are_named(tmp_path):
    columns = {name: list(values) for name, values in as_columns(make_log(5)).items()}
    good = dict(columns)
    columns["observation"] = [*columns["observation"][:3], np.zeros(4), None, *columns["observation"][5:]]
    pa.parquet.write_table(pa.table(columns), tmp_path / "log.parquet")
    with pytest.raises(
        DataError, match="2 bad rows.*\n  row 3 has observation of width 4, needed 17\n  row 4 has no obs"
    ):
        import_log([tmp_path / "log.parquet"], tmp_path, "cheetah_run", "mine", bins=3)
    nulls = [None] * 4 + good["next_observation"][4:5] + [None] * 4 + good["next_observation"][9:]
    pa.parquet.write_table(pa.table(good | {"next_observation": nulls}), tmp_path / "log.parquet")
    directory = import_log([tmp_path / "log.parquet"], tmp_path, "cheetah_run", "mine", bins=3)
    assert_transitions(transitions(list(EpisodeSource(str(directory), "train"))), make_log(5))


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_files_that_are_no_logs_are_named(tmp_path, kind):
    path = tmp_path / f"log.{kind}"
    path.write_bytes(b"PK\x03\x04 or not")
    with pytest.raises(DataError, match=f"{path} cannot be read as .{kind}"):
        import_log([path], tmp_path, "cheetah_run", "mine", bins=3)
    columns = as_columns(make_log(3))
    del columns["timeout"], columns["reward"]
    if kind == "npz":
        np.savez(path, **columns)
    else:
        pa.parquet.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
    with pytest.raises(
        DataError,
        match="has no reward. .*config.data.columns.reward=NAME. The columns are observation, action, next_obs",
    ):
        import_log([path], tmp_path, "cheetah_run", "mine", bins=3)


def test_python_objects_and_single_arrays_are_refused_as_npz(tmp_path):
    np.save(tmp_path / "log.npy", np.zeros(3))
    (tmp_path / "log.npy").rename(tmp_path / "log.npz")
    with pytest.raises(DataError, match="log.npz cannot be read as .npz"):
        import_log([tmp_path / "log.npz"], tmp_path, "cheetah_run", "mine", bins=3)
    np.savez(tmp_path / "log.npz", **as_columns(make_log(3)) | {"action": np.array([[1], [1, 2]], object)})
    with pytest.raises(DataError, match="without Python objects"):
        import_log([tmp_path / "log.npz"], tmp_path, "cheetah_run", "mine", bins=3)


def test_several_files_become_one_data_set(tmp_path):
    """The end of a file is the end of an episode, and bad rows are named with their file."""
    rows = [(*row[:4], False) for row in make_log(8, episodes=1)]
    files = [write(tmp_path / "a", rows[:3]), write(tmp_path / "b", rows[3:])]
    directory = import_log(files, tmp_path, "cheetah_run", "clicks", bins=3)
    episodes = list(EpisodeSource(str(directory), "train"))
    assert [len(e.reward) for e in episodes] == [3, 5]
    assert_transitions(transitions(episodes), rows)
    record = json.loads((directory / "card_train.json").read_text())["made_by"]["files"]
    assert [(file["file"], file["rows"]) for file in record] == [("a", 3), ("b", 5)]
    rows[4][1][0] = 7
    write(tmp_path / "b", rows[3:])
    with pytest.raises(DataError, match=r"1 bad row, .*\n  row 1 of b has 7 in action\[0\]; its choices are 0, 1, 2"):
        import_log(files, tmp_path, "cheetah_run", "other", bins=3)
    wide = write(tmp_path / "c", [(np.zeros(5), [0] * N, 1.0, np.zeros(5), False)])
    with pytest.raises(DataError, match="c: 1 bad row.*\n  row 0 has state of width 5, needed 17"):
        import_log([files[0], wide], tmp_path, "cheetah_run", "other", bins=3)
    assert not (tmp_path / "imported_log" / "cheetah_run-3bins-other").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "cheetah_run"}, "cheetah_run has the same choices in every slot: give --bins"),
        ({"task": "cheetah_run", "bins": 2}, r"has 2 in action\[\d\]; its choices are 0, 1"),
        ({"task": "finger_spin", "bins": 3}, "row 0 has state of width 17, needed 9"),
        ({"task": "own", "bins": 3}, "--task=own is unknown; tasks are finger_spin, .* needs no --task"),
        ({"task": "cheetah_run", "bins": 3, "name": "../up"}, "--name=../up must consist of letters"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, settings, message):
    with pytest.raises(DataError, match=message):
        import_log([write(tmp_path / "log", make_log(20))], tmp_path, level="x", **{"bins": None} | settings)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_second_import_is_refused_and_the_first_left_alone(tmp_path):
    path = write(tmp_path / "log", make_log(5))
    import_log([path], tmp_path, "cheetah_run", "expert", bins=3)
    before = snapshot(tmp_path)
    with pytest.raises(DataError, match="cheetah_run-3bins-expert is there already and stays as it is. .*--name"):
        import_log([path], tmp_path, "cheetah_run", "expert", bins=3)
    assert snapshot(tmp_path) == before
    import_log([path], tmp_path, "cheetah_run", "expert", bins=3, name="again")


def command(*arguments):
    return [sys.executable, "-m", "spin_jax.logs.import_log", *map(str, arguments)]


@pytest.mark.slow
def test_the_commands_from_a_file_to_trained_stages(tmp_path):
    """The two commands of README, on a made-up log: import, then train from config.data.path, which stays untouched."""
    path = write(tmp_path / "cheetah-run-expert", make_log(60, episodes=4))
    arguments = (path, "--task=cheetah-run", "--bins=3", "--level=expert", f"--data_dir={tmp_path}/data")
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "data" / "imported_log" / "cheetah_run-3bins-expert" / "1.0.0"
    assert f"--config.data.path={directory} --config.data.level=train" in done.stderr
    again = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 1
    assert again.stderr.strip().startswith("error: ")
    assert len(again.stderr.strip().splitlines()) == 1
    before = snapshot(directory)
    config = get_config("smoke")
    config.update_from_flattened_dict({"data.path": str(directory), "data.level": "train", "data.dir": "/nowhere"})
    results = main.run(config, str(tmp_path / "work"), main.STAGES)
    assert list(results["data_returns"]) == ["train"]
    assert results["transitions"] == 180  # the last of four episodes is held out
    assert snapshot(directory) == before
    config.data.level = "expert"
    with pytest.raises(DataError, match=r"Unknown split 'expert'.*Splits there: train \(4 episodes\)"):
        main.run(config, str(tmp_path / "other"), ("pretrain",))
    config.data.path = str(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path} is not a TFDS data set"):
        main.run(config, str(tmp_path / "other"), ("data",))
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_killed_import_leaves_nothing_in_the_way(tmp_path):
    path = write(tmp_path / "log", make_log(1000, episodes=60))
    arguments = (path, "--task=cheetah_run", "--bins=3", "--level=x", f"--data_dir={tmp_path}/data")
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("data/.importing_*/**/*array_record*")):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob("data/.importing_*"))
    assert not (tmp_path / "data" / "imported_log").exists()
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["imported_log"]
