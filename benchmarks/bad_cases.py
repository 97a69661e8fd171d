"""The bad inputs of benchmarks.bad_inputs: generated from what fields declare, the others written by hand."""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import numpy as np


class Case(NamedTuple):
    """One command with a bad input; names: what its last line must name."""

    kind: str
    program: str
    arguments: tuple[str, ...]
    names: str


CHEETAH = "--config=configs/cheetah_run.py:smoke"
LOG = "--config=configs/log.py:smoke"
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


def all_cases(folder: pathlib.Path) -> Iterator[Case]:
    """Every case; their paths are relative to `folder`."""
    yield from fields()
    yield from flags_of_main()
    yield from workdirs()
    yield from imports()
    yield from policies()
    yield from collecting()
    yield from launching()
    yield from measuring()


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


def fields() -> Iterator[Case]:
    """Values of a wrong type or out of range for every field of a configuration, from what it declares."""
    from configs.cheetah_run import get_config
    from spin_jax.config.build import sections
    from spin_jax.config.sections import RunConfig
    from spin_jax.logs.column_map import ColumnConfig

    known = get_config("paper")
    for section, kind in (sections() | {"": RunConfig, "data.columns": ColumnConfig}).items():
        for field in dataclasses.fields(kind):
            path = f"{section}.{field.name}".lstrip(".")
            if "from" in field.metadata or path not in _leaves(known):
                continue
            for value in bad_values(field.type):
                yield Case(
                    "fields of the configuration", "main.py", (*_paper(), f"--config.{path}={value}"), field.name
                )


def _paper() -> tuple[str, str]:
    return "--config=configs/cheetah_run.py:paper", "--workdir=run"


def _leaves(config: Any, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in config.items():
        found |= _leaves(value, f"{prefix}{name}.") if hasattr(value, "items") else {prefix + name}
    return found


def bad_values(declared: Any) -> list[str]:
    """Values for a flag of this declared type that it must refuse."""
    if get_origin(declared) is Literal:
        return ["nonsense", "''"]
    kind, *rules = get_args(declared) if get_origin(declared) is Annotated else (declared,)
    if kind is bool:
        return ["maybe"]
    if kind not in (int, float):
        return []
    step = 1 if kind is int else 0.25
    beyond = [value for rule in rules for value in (rule.low - step, rule.low, rule.high, rule.high + 1)]
    outside = [kind(v) for v in dict.fromkeys(beyond) if not rules[0].holds(v) and v not in (0, -1)]
    return [*map(str, outside), "text", *(["nan", "inf"] if kind is float else ["1.5"])]


def flags_of_main() -> Iterator[Case]:
    """Wrong flags and configuration files of main.py."""
    kind, run = "flags and files of main.py", "--workdir=run"
    for arguments, names in (
        ((CHEETAH,), "workdir"),
        ((run,), "config"),
        ((CHEETAH, run, "policy=spin"), "policy=spin"),
        ((CHEETAH, run, "smoke"), "smoke"),
        ((CHEETAH, run, "--stage=train"), "stage"),
        ((CHEETAH, run, "--stag=policy"), "stag"),
        ((CHEETAH, run, "--distributed=yes"), "distributed"),
        ((CHEETAH, run, "--distributed=a,b,c"), "distributed"),
        ((f"{CHEETAH}y", run), "smokey"),
        (("--config=configs/nothing.py", run), "nothing.py"),
        (("--config=a_file", run), "a_file"),
        (("--config=empty", run), "empty"),
        *(((f"--config={name}.py", run), "") for name in configs()),
        ((CHEETAH, run, "--config.task=walker_run"), "walker_run"),
        ((CHEETAH, run, "--config.policy=spinn"), "spin"),
        ((CHEETAH, run, "--config.learner=ppo"), "ppo"),
        ((CHEETAH, run, "--config.asm.wdth=3"), "wdth"),
        ((CHEETAH, run, "--config.asmm.width=3"), "asmm"),
        ((CHEETAH, run, "--config.bins=1"), "bins"),
        ((CHEETAH, run, "--config.seed=4294967295", "--config.num_seeds=2"), "seed"),
        ((CHEETAH, run, "--config.asm.width=10", "--config.asm.num_heads=3"), "num_heads"),
        ((CHEETAH, run, "--config.data.level=mediums"), "mediums"),
        ((CHEETAH, run, "--config.data.level=medium[:"), "medium"),
        ((CHEETAH, run, "--config.iql.extract_after=90"), "extract_after"),
        ((CHEETAH, run, "--config.eval.device=accelerator"), "eval.device"),
        ((CHEETAH, run, "--config.mesh.data=3"), "mesh"),
        ((CHEETAH, run, "--config.num_seeds=2", "--config.data.mode=stream"), "stream"),
        ((CHEETAH, run, "--config.policy=spin_cached", "--config.data.mode=stream"), "data.mode"),
        ((CHEETAH, run, "--config.policy=factored", "--stage=pretrain"), "pretrain"),
        ((CHEETAH, run, "--config.ope.steps=3"), "ope"),
        ((LOG, run), "config.data.path"),
        ((LOG, run, "--config.data.path=good.csv", "--stage=evaluate"), "simulator"),
    ):
        yield Case(kind, "main.py", arguments, names)


def workdirs() -> Iterator[Case]:
    """Workdirs, data directories and ASMs that are none."""
    kind = "workdirs, data directories, ASMs"
    bad = ["a_file", "a_file/run", "not_empty", *records(), "/proc/nothing", "/dev/null", "x" * 300]
    for path in bad + ([] if os.geteuid() == 0 else ["locked/run"]):
        yield Case(kind, "main.py", (CHEETAH, f"--workdir={path}", "--config.data.dir=data"), path.split("/")[0])
    for stage in ("pretrain", "policy", "evaluate"):
        yield Case(kind, "main.py", (CHEETAH, "--workdir=run", f"--stage={stage}", "--config.data.dir=none"), "none")
    for path in ("a_file", "/proc/nothing", "/dev/null"):
        yield Case(kind, "main.py", (CHEETAH, "--workdir=run", f"--config.data.dir={path}"), path)
    for path in ("nothing", "a_file", "empty", *data_sets()):
        arguments = (CHEETAH, "--workdir=run", f"--config.data.path={path}", "--config.data.level=train")
        yield Case(kind, "main.py", arguments, path)
        if path in data_sets():
            yield Case(kind, "main.py", (LOG, "--workdir=run", f"--config.data.path={path}"), path)


def imports() -> Iterator[Case]:
    """Tables, flags and names that import_log and configs/log.py refuse."""
    kind, module = "tables and imports", "spin_jax.logs.import_log"
    files = [f"{name}.csv" for name in bad_tables()]
    files += [
        "cut.parquet",
        "cut.npz",
        "nothing.csv",
        "binary.csv",
        "strange.xyz",
        "objects.npz",
        "lengths.npz",
        "huge.npz",
    ]
    files += ["cut_pickle", "evil_pickle", "nothing_there.csv", "empty", "not_empty"]
    for name in files:
        yield Case(kind, module, (name, "--data_dir=data"), name.split(".")[0])
        yield Case(kind, "main.py", (LOG, "--workdir=run", f"--config.data.path={name}", "--config.data.dir=data"), "")
    for column in ("observation", "action", "reward", "episode", "step", "propensity", "categorical"):
        yield Case(kind, module, ("good.csv", "--data_dir=data", f"--columns.{column}=nothing"), "nothing")
    suite = ("--task=cheetah_run", "--bins=3", "--data_dir=data")
    for arguments, names in (
        ((), "file"),
        (("good.csv", "good.csv"), "--task"),
        (("good.csv", "--columns.reward=age,reward"), "reward"),
        (("good.csv", "--columns.action=slot_drug,slot_drug"), "slot_drug"),
        (("good.csv", "--columns.reward=slot_drug"), "slot_drug"),
        (("good.csv", "--columns.choices=choices.json"), "choices"),
        (("good.csv", "--columns.choices=nothing.json"), "choices"),
        (("good.csv", "--columns.rewards=reward"), "columns.rewards"),
        (("good.csv", "--data_dir=a_file"), "a_file"),
        (("good.csv", "--data_dir=/proc/nothing"), "/proc/nothing"),
        (("good.csv", *suite), "good.csv"),
        (("good.csv", *suite, "--name=../up"), "../up"),
        (("good.csv", *suite, f"--name={'n' * 300}"), ""),
        (("good.csv", "--task=walker", "--bins=3"), "walker"),
        (("good.csv", "--task=cheetah_run"), "--bins"),
        (("good.csv", "--task=cheetah_run", "--bins=0"), "bins"),
        (("good.csv", "--task=cheetah_run", "--bins=100000"), "bins"),
    ):
        where = () if any(argument.startswith("--data_dir") for argument in arguments) else ("--data_dir=data",)
        yield Case(kind, module, (*arguments, *where), names)


def policies() -> Iterator[Case]:
    """Workdirs and files that export and log_to_minari refuse."""
    kind = "exports"
    for path in ("nothing", "a_file", "empty", "not_empty", *records()):
        yield Case(kind, "spin_jax.export", (f"--workdir={path}", "--out=policy.bin"), path)
    for arguments, names in (
        (("--out=x",), "workdir"),
        (("--workdir=empty",), "out"),
        (("--workdir=empty", "--out=a_file"), "a_file"),
        (("--workdir=empty", "--out=nothing/x"), "nothing"),
        (("--workdir=empty", "--out=x", "--format=pickle"), "format"),
        (("--workdir=empty", "--out=x", "--step=last"), "step"),
        (("--workdir=empty", "--out=x", "--seed=one"), "seed"),
        (("--workdir=empty", "--out=x", "more"), "more"),
    ):
        yield Case(kind, "spin_jax.export", arguments, names)
    for arguments, names in (
        (("empty",), "id"),
        (("empty", "--id=no version"), "empty"),
        (("nothing", "--id=log-v0"), "nothing"),
        (("--id=log-v0",), "directory"),
        (("a", "b", "--id=log-v0"), "directory"),
    ):
        yield Case(kind, "spin_jax.export.log_to_minari", arguments, names)


def collecting() -> Iterator[Case]:
    """Settings that train_behaviour, ship and policy_table refuse."""
    from spin_jax.collect.train_behaviour import BehaviourConfig
    from spin_jax.learners.decqn import DecQNConfig

    kind, module = "behaviour policies", "spin_jax.collect.train_behaviour"
    cheetah = ("--task=cheetah_run", "--workdir=behaviour")
    for prefix, settings in (("", BehaviourConfig), ("learner.", DecQNConfig)):
        for field in dataclasses.fields(settings):
            for value in [] if dataclasses.is_dataclass(field.type) else bad_values(field.type):
                yield Case(kind, module, (*cheetah, f"--set={prefix}{field.name}={value}"), field.name)
    for arguments, names in (
        (("--workdir=behaviour",), "task"),
        (("--task=cheetah_run",), "workdir"),
        (("--task=walker", "--workdir=behaviour"), "walker"),
        ((*cheetah, "--frames=-1"), "frames"),
        ((*cheetah, "--bins=1"), "bins"),
        ((*cheetah, "--bins=300"), "bins"),
        ((*cheetah, "--seed=-1"), "seed"),
        ((*cheetah, "--num_workers=-7"), "num_workers"),
        ((*cheetah, "--set=explore"), "explore"),
        ((*cheetah, "--set=explores=0.1"), "explores"),
        ((*cheetah, "--set=learner=3"), "learner"),
        ((*cheetah, "--start_from=nothing"), "nothing"),
        (("--task=cheetah_run", "--workdir=a_file"), "a_file"),
        ((*cheetah, "go"), "go"),
    ):
        yield Case(kind, module, arguments, names)
    ship = "spin_jax.collect.ship"
    for arguments, names in (
        (("--task=cheetah_run", "--workdir=empty"), "empty"),
        (("--task=cheetah_run", "--workdir=nothing"), "nothing"),
        (("--task=cheetah_run", "--workdir=empty", "--medium_share=2"), "medium_share"),
        (("--task=cheetah_run", "--workdir=empty", "--levels=best"), "levels"),
    ):
        yield Case(kind, ship, arguments, names)
    for arguments, names in (((("--task=walker",)), "walker"), ((("--num_workers=-3",)), "num_workers")):
        yield Case(kind, "spin_jax.collect.policy_table", arguments, names)


def launching() -> Iterator[Case]:
    """What the programs of launch/ refuse."""
    kind = "launch"
    for arguments, names in (
        ((CHEETAH,), "topology"),
        ((CHEETAH, "--topology=v99:2x4"), "v99"),
        ((CHEETAH, "--topology=local", "--config.asm.width=0"), "asm.width"),
        (("--config=configs/nothing.py", "--topology=local"), "nothing.py"),
    ):
        yield Case(kind, "launch.preflight", arguments, names)
    for arguments, names in (
        (("nothing.py", "--workdir=runs"), "nothing.py"),
        (("a_file", "--workdir=runs"), "a_file"),
        (("syntax.py", "--workdir=runs"), "syntax.py"),
        (("no_function.py", "--workdir=runs"), "sweep"),
        (("--workdir=runs",), "sweep file"),
        (("no_function.py",), "workdir"),
    ):
        yield Case(kind, "launch.sweep", arguments, names)
    for arguments, names in (
        (("--processes=0",), "processes"),
        (("--devices=-1",), "devices"),
        (("--", "--distributed=auto"), "--distributed"),
    ):
        yield Case(kind, "launch.local_processes", arguments, names)


def measuring() -> Iterator[Case]:
    """Wrong flags of the benchmarks."""
    names = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("*.py"))
    with_command = [n for n in names if "\n    command.run(" in (pathlib.Path(__file__).parent / f"{n}.py").read_text()]
    for name in with_command:
        yield Case("benchmarks", f"benchmarks.{name}", ("--no_such_flag=1",), "no_such_flag")
        yield Case("benchmarks", f"benchmarks.{name}", ("stray",), "")
