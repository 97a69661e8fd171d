"""Prints one command of main.py for each run of a sweep: `python -m launch.sweep SWEEP_FILE --workdir=DIR`.

A sweep file defines `sweep(add)` and calls, once for each run,
    add(task='dog_trot', policy='spin', seed=0, **{'config.asm.width': 128})
with any of task (required), preset, policy, learner, level, seed, num_seeds, and fields of the configuration by their
full name; a task is named as its file in configs/ (maze, not maze_7). Each run gets a folder of DIR, named after what
varies between the runs. launch/README.md feeds the lines to xargs, Slurm and SkyPilot.
"""

import pathlib
import re
import runpy
import shlex
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from spin_jax import command
from spin_jax.config.build import did_you_mean
from spin_jax.envs.tasks import family
from spin_jax.errors import ConfigError
from spin_jax.record.workdir import flat
from spin_jax.registry import ENVS, LEARNERS, LOG, POLICIES
from spin_jax.run import get_config

FIELDS = {"level": "data.level"} | {name: name for name in ("policy", "learner", "seed", "num_seeds")}
TASK_FILES = tuple(dict.fromkeys([*map(family, ENVS), LOG]))  # a task is named as its file in configs/
SHOWN_BY_VALUE = ("task", "preset", "policy", "learner", "level")  # dog_trot-spin, but seed=0


def load_runs(path: str) -> list[dict[str, Any]]:
    """What the file's sweep(add) adds, in its order; raises ConfigError on a file that is no sweep."""
    runs: list[dict[str, Any]] = []
    if not pathlib.Path(path).is_file():
        raise ConfigError(f"{path}: no such file. A sweep file is Python, such as launch/example_sweep.py.")
    try:
        define = runpy.run_path(path).get("sweep")
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}.") from error
    except Exception as error:  # whatever the user's file does
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
    if not callable(define):
        raise ConfigError(f"{path} defines no function sweep(add).")
    define(lambda **settings: runs.append(settings))
    if not runs:
        raise ConfigError(f"{path}: sweep(add) added no run.")
    return runs


def full_config(run: dict[str, Any]) -> ConfigDict:
    """The run's configuration, as main.py will read it; raises ConfigError on a name or a value it would refuse."""
    known = ("task", "preset", *FIELDS)
    for name in run:
        if name not in known and not name.startswith("config."):
            raise ConfigError(f"add() has no argument {name!r}.{did_you_mean(name, known)}")
    if "task" not in run:
        raise ConfigError(f"add() needs task, got {run}.")
    for name, table in (("task", TASK_FILES), ("policy", POLICIES), ("learner", LEARNERS)):
        if name in run and run[name] not in table:
            raise ConfigError(f"{name} is {run[name]!r}.{did_you_mean(run[name], table)}")
    try:
        config = get_config(":".join(run[name] for name in ("task", "preset") if name in run))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    fields = [f"config.{name}" for name in flat(config.to_dict())]
    for flag, value in overrides(run).items():
        if flag not in fields:
            raise ConfigError(f"{flag} is no field of the configuration.{did_you_mean(flag, fields)}")
        try:
            config.update_from_flattened_dict({flag.removeprefix("config."): value})
        except TypeError as error:
            raise ConfigError(f"{flag} cannot be {value!r}: {error}") from error
    return config


def overrides(run: dict[str, Any]) -> dict[str, Any]:
    """The run's flags of main.py that begin with config., in the order in which the sweep file gave them."""
    flags_of = {name: f"config.{field}" for name, field in FIELDS.items()}
    return {flags_of.get(name, name): value for name, value in run.items() if name not in ("task", "preset")}


def folder_names(runs: list[dict[str, Any]]) -> list[str]:
    """A readable folder for each run: the settings that are not the same in all runs, or the task if all are."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    varying = [name for name in names if len({repr(run.get(name)) for run in runs}) > 1] or ["task"]

    def shown(name: str, value: Any) -> str:
        text = str(value) if name in SHOWN_BY_VALUE else f"{name.removeprefix('config.')}={value}"
        return re.sub(r"[^\w.=+-]", "_", text)

    return ["-".join(shown(name, run[name]) for name in varying if name in run) or "default" for run in runs]


def commands(runs: list[dict[str, Any]], workdir: str) -> list[str]:
    """One shell-quoted command line for each run; raises ConfigError on a wrong or a repeated run."""
    lines: list[str] = []
    seen: dict[str, int] = {}
    folders = folder_names(runs)
    for i, (run, folder) in enumerate(zip(runs, folders, strict=True)):
        config = full_config(run)
        first = seen.setdefault(repr(sorted(config.to_dict().items(), key=str)), i)
        if first != i:
            raise ConfigError(f"runs {first + 1} and {i + 1} are the same: {runs[first]} and {run}.")
        if folder in folders[:i]:
            raise ConfigError(f"runs {folders.index(folder) + 1} and {i + 1} would share the folder {folder!r}.")
        preset = f":{run['preset']}" if "preset" in run else ""
        arguments = [f"--config=configs/{run['task']}.py{preset}", f"--workdir={workdir.rstrip('/')}/{folder}"]
        arguments += [f"--{flag}={value}" for flag, value in overrides(run).items()]
        lines.append(shlex.join(["python", "main.py", *arguments]))
    return lines


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise ConfigError("name one sweep file, such as launch/example_sweep.py.")
    print("\n".join(commands(load_runs(arguments[0]), FLAGS.workdir)))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "folder of the runs; each gets a folder of its own in it", required=True)
    command.run(main, takes="a sweep file")
