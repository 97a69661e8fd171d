"""The files that bad inputs name: tables, configurations, records and data sets that are none."""

import csv
import json
import os
import pathlib
from typing import Any

import numpy as np

ROWS = 12


def prepare(folder: pathlib.Path) -> None:
    """Writes the files that cases read into `folder`."""
    (folder / "a_file").write_text("something\n")
    (folder / "not_empty").mkdir()
    (folder / "not_empty" / "notes.txt").write_text("mine\n")
    (folder / "empty").mkdir()
    write_table(folder / "good.csv", table())
    for name, columns in bad_tables().items():
        write_table(folder / f"{name}.csv", columns)
    (folder / "cut.parquet").write_bytes(b"PAR1\x00\x00")
    (folder / "cut.npz").write_bytes(b"PK\x03\x04")
    (folder / "nothing.csv").write_text("")
    (folder / "binary.csv").write_bytes(os.urandom(300))
    (folder / "choices.json").write_text("{")
    (folder / "strange.xyz").write_text("1 2 3")
    np.savez(folder / "objects.npz", observation=np.array([{}, {}], dtype=object))
    huge = np.full((3, 1), 2**31 - 1)
    np.savez(folder / "huge.npz", observation=np.zeros((3, 2)), action=huge, reward=np.zeros(3), terminal=np.ones(3))
    np.savez(folder / "lengths.npz", observation=np.zeros((3, 2)), action=np.zeros((4, 1), int), reward=np.zeros(3))
    (folder / "cut_pickle").write_bytes(b"\x80\x04\x95\x10")
    (folder / "evil_pickle").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    for name, source in configs().items():
        (folder / f"{name}.py").write_text(source)
    for name, record in records().items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_bytes(record)
    for name, files in data_sets().items():
        (folder / name).mkdir()
        for file, content in files.items():
            (folder / name / file).write_text(content)
    locked = folder / "locked"
    locked.mkdir()
    locked.chmod(0o500)


def table(**changes: Any) -> dict[str, list]:
    """Three episodes of four steps; a change of None removes a column."""
    columns: dict[str, Any] = {
        "episode": [i // 4 for i in range(ROWS)],
        "age": [20.0 + i for i in range(ROWS)],
        "slot_drug": ["aspirin", "none"] * 6,
        "slot_dose": [i % 3 for i in range(ROWS)],
        "reward": [0.5] * ROWS,
    } | changes
    return {name: values for name, values in columns.items() if values is not None}


def write_table(path: pathlib.Path, columns: dict[str, list]) -> None:
    """Writes columns as CSV."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def bad_tables() -> dict[str, dict[str, list]]:
    """Tables that cannot be trained on, by name."""
    one: list[Any] = [0.5] * (ROWS - 1)
    return {
        "no_reward": table(reward=None),
        "no_action": table(slot_drug=None, slot_dose=None),
        "no_observation": table(age=None),
        "no_rows": {name: [] for name in table()},
        "nan_reward": table(reward=["nan", *one]),
        "inf_observation": table(age=["inf", *one]),
        "text_reward": table(reward=["much", *one]),
        "missing_choice": table(slot_drug=["", *["none"] * (ROWS - 1)]),
        "fraction_action": table(slot_dose=[1.5, *[1] * (ROWS - 1)]),
        "negative_propensity": table(propensity=[-0.1, *one]),
        "large_propensity": table(propensity=[1.5, *one]),
        "two_ends": table(terminal=[1] * ROWS, timeout=[1] * ROWS),
        "one_episode_apart": table(episode=[0, 1, 0, 1, *[2] * (ROWS - 4)]),
    }


def configs() -> dict[str, str]:
    """Configuration files that are none, by name."""
    return {
        "syntax": "def get_config(preset) return 3\n",
        "no_function": "x = 3\n",
        "number": "def get_config(preset=None):\n    return 3\n",
        "raises": "def get_config(preset=None):\n    raise RuntimeError('no luck')\n",
        "imports": "import nothing_of_this_name\n",
        "no_task": "import ml_collections\nget_config = lambda preset=None: ml_collections.ConfigDict({'a': 1})\n",
        "no_section": "from configs.base import get_config as base\ndef get_config(preset=None):\n"
        "    config = base('cheetah_run', 'smoke')\n    del config.asm\n    return config\n",
        "extra_field": "from configs.base import get_config as base\ndef get_config(preset=None):\n"
        "    config = base('cheetah_run', 'smoke')\n    config.asm.layers = 3\n    return config\n",
    }


def records() -> dict[str, bytes]:
    """config.json of folders that are no workdirs, by the folder's name."""
    return {
        "cut_config": b'{"task": "cheet',
        "empty_config": b"",
        "list_config": b"[1, 2]\n",
        "text_config": b'"spin"\n',
        "binary_config": b"\xff\xfe\x00",
        "other_config": b'{"task": "dog_trot"}\n',
    }


def data_sets() -> dict[str, dict[str, str]]:
    """Files of folders that are no RLDS data sets, by the folder's name."""
    hostile = {"pythonClassName": "this.Evil", "featuresDict": {"features": {}}}
    return {
        "cut_rlds": {"dataset_info.json": "{", "features.json": "{"},
        "empty_rlds": {"dataset_info.json": ""},
        "hostile_rlds": {
            "dataset_info.json": json.dumps({"name": "x", "version": "1.0.0", "fileFormat": "array_record"}),
            "features.json": json.dumps(hostile),
        },
        "no_minari": {"metadata.json": json.dumps({"data_format": "zarr"})},
    }
