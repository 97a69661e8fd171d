"""Bad inputs of the commands beside main.py: imports, exports, behaviour policies, launching, benchmarks."""

import dataclasses
import pathlib
from collections.abc import Iterator

from benchmarks.bad_cases import CHEETAH, LOG, Case, bad_values, listed
from benchmarks.bad_files import bad_tables, records


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
    for case in listed(
        kind,
        module,
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
        yield case._replace(arguments=("--data_dir=data", *case.arguments))  # a later flag wins


def policies() -> Iterator[Case]:
    """Workdirs and files that export and log_to_minari refuse."""
    kind = "exports"
    for path in ("nothing", "a_file", "empty", "not_empty", *records()):
        yield Case(kind, "spin_jax.export", (f"--workdir={path}", "--out=policy.bin"), path)
    yield from listed(
        kind,
        "spin_jax.export",
        (("--out=x",), "workdir"),
        (("--workdir=empty",), "out"),
        (("--workdir=empty", "--out=a_file"), "a_file"),
        (("--workdir=empty", "--out=nothing/x"), "nothing"),
        (("--workdir=empty", "--out=x", "--format=pickle"), "format"),
        (("--workdir=empty", "--out=x", "--step=last"), "step"),
        (("--workdir=empty", "--out=x", "--seed=one"), "seed"),
        (("--workdir=empty", "--out=x", "more"), "more"),
    )
    yield from listed(
        kind,
        "spin_jax.export.log_to_minari",
        (("empty",), "id"),
        (("empty", "--id=no version"), "empty"),
        (("nothing", "--id=log-v0"), "nothing"),
        (("--id=log-v0",), "directory"),
        (("a", "b", "--id=log-v0"), "directory"),
    )


def collecting() -> Iterator[Case]:
    """Settings that train_behaviour, ship and policy_table refuse."""
    from spin_jax.collect.behaviour_config import BehaviourConfig
    from spin_jax.learners.decqn import DecQNConfig

    kind, module = "behaviour policies", "spin_jax.collect.train_behaviour"
    cheetah = ("--task=cheetah_run", "--workdir=behaviour")
    for prefix, settings in (("", BehaviourConfig), ("learner.", DecQNConfig)):
        for field in dataclasses.fields(settings):
            for value in [] if dataclasses.is_dataclass(field.type) else bad_values(field.type):
                yield Case(kind, module, (*cheetah, f"--set={prefix}{field.name}={value}"), field.name)
    yield from listed(
        kind,
        module,
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
    )
    ship = "spin_jax.collect.ship"
    yield from listed(
        kind,
        ship,
        (("--task=cheetah_run", "--workdir=empty"), "empty"),
        (("--task=cheetah_run", "--workdir=nothing"), "nothing"),
        (("--task=cheetah_run", "--workdir=empty", "--medium_share=2"), "medium_share"),
        (("--task=cheetah_run", "--workdir=empty", "--levels=best"), "levels"),
    )
    for arguments, names in (((("--task=walker",)), "walker"), ((("--num_workers=-3",)), "num_workers")):
        yield Case(kind, "spin_jax.collect.policy_table", arguments, names)


def launching() -> Iterator[Case]:
    """What the programs of launch/ refuse."""
    kind = "launch"
    yield from listed(
        kind,
        "launch.preflight",
        ((CHEETAH,), "topology"),
        ((CHEETAH, "--topology=v99:2x4"), "v99"),
        ((CHEETAH, "--topology=local", "--config.asm.width=0"), "asm.width"),
        (("--config=configs/nothing.py", "--topology=local"), "nothing.py"),
    )
    yield from listed(
        kind,
        "launch.sweep",
        (("nothing.py", "--workdir=runs"), "nothing.py"),
        (("a_file", "--workdir=runs"), "a_file"),
        (("syntax.py", "--workdir=runs"), "syntax.py"),
        (("no_function.py", "--workdir=runs"), "sweep"),
        (("--workdir=runs",), "sweep file"),
        (("no_function.py",), "workdir"),
    )
    yield from listed(
        kind,
        "launch.local_processes",
        (("--processes=0",), "processes"),
        (("--devices=-1",), "devices"),
        (("--", "--distributed=auto"), "--distributed"),
    )


def measuring() -> Iterator[Case]:
    """Wrong flags of the benchmarks."""
    names = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("*.py"))
    with_command = [n for n in names if "\n    command.run(" in (pathlib.Path(__file__).parent / f"{n}.py").read_text()]
    for name in with_command:
        yield Case("benchmarks", f"benchmarks.{name}", ("--no_such_flag=1",), "no_such_flag")
        yield Case("benchmarks", f"benchmarks.{name}", ("stray",), "")
