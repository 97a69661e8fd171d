"""Bad inputs of main.py: generated from what fields declare, the others written by hand."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from benchmarks.bad_files import configs, data_sets, records


class Case(NamedTuple):
    """One command with a bad input; names: what its last line must name."""

    kind: str
    program: str
    arguments: tuple[str, ...]
    names: str


CHEETAH = "--config=configs/cheetah_run.py:smoke"
LOG = "--config=configs/log.py:smoke"


def listed(kind: str, program: str, *pairs: tuple[tuple[str, ...], str]) -> Iterator[Case]:
    """A case for each (arguments, names)."""
    for arguments, names in pairs:
        yield Case(kind, program, arguments, names)


def fields() -> Iterator[Case]:
    """Values of a wrong type or out of range for every field of a configuration, from what it declares."""
    from configs.cheetah_run import get_config
    from spin_jax.config.build import sections
    from spin_jax.config.sections import RunConfig
    from spin_jax.logs.column_map import ColumnConfig
    from spin_jax.record.workdir import flat

    known = flat(get_config("paper").to_dict())
    for section, kind in (sections() | {"": RunConfig, "data.columns": ColumnConfig}).items():
        for field in dataclasses.fields(kind):
            path = f"{section}.{field.name}".lstrip(".")
            if "from" in field.metadata or path not in known:
                continue
            for value in bad_values(field.type):
                yield Case(
                    "fields of the configuration", "main.py", (*_paper(), f"--config.{path}={value}"), field.name
                )


def _paper() -> tuple[str, str]:
    return "--config=configs/cheetah_run.py:paper", "--workdir=run"


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
    yield from listed(
        kind,
        "main.py",
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
    )


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
