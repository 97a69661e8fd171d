"""A run's directory: it holds one configuration, never a second one, and a JSON summary of each finished stage."""

import json
import os
import pathlib

from ml_collections import ConfigDict

from spin_jax.errors import WorkdirError
from spin_jax.record.processes import is_first

CONFIG = "config.json"
# these may differ between two calls on one workdir: they do not change what is trained
MAY_CHANGE = ("eval", "ope", "data.num_workers", "seeds_per_batch", "mesh", "train.keep_policies")


def write_json(path: pathlib.Path, values: dict) -> None:
    """Writes JSON atomically: readers see the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        json.dump(values, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def flat(values: dict, prefix: str = "") -> dict:
    """A nested dict as one level: {'asm.width': 64, …}."""
    result: dict = {}
    for name, value in values.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        result |= inner
    return result


class Workdir:
    """The directory `path` of a run with the resolved configuration `config`.

    Raises WorkdirError if the directory holds another configuration, naming the differences, or if it is not the
    directory of a run; of several processes only process 0 looks, as the others could see it half made. Nothing is
    created on disk before the first stage() call.
    """

    def __init__(self, path: str, config: ConfigDict):
        self.path = pathlib.Path(path).expanduser().absolute()
        self.asm = self.path / "asm"  # where stage 1 leaves what stage 2 loads
        self._outer: Workdir | None = None
        self._config = config.to_dict()
        if is_first():
            self._check()

    def _check(self):
        if self.path.exists() and not self.path.is_dir():
            raise WorkdirError(f"--workdir={self.path} is a file, not a directory.")
        record = self.path / CONFIG
        if record.exists():
            self._compare(json.loads(record.read_text()))
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise WorkdirError(
                f"--workdir={self.path} is not empty and holds no {CONFIG}: it is not a run of this program. "
                f"Choose a new or an empty directory."
            )

    def _compare(self, saved: dict):
        saved, ours = flat(saved), flat(self._config)
        free = tuple(f"{name}." for name in MAY_CHANGE)
        differences = [
            f"  config.{name}: there {saved.get(name)!r}, now {ours.get(name)!r}"
            for name in sorted(saved.keys() | ours.keys())
            if not f"{name}.".startswith(free) and saved.get(name) != ours.get(name)
        ]
        if differences:
            raise WorkdirError(
                f"--workdir={self.path} holds a run with another configuration:\n" + "\n".join(differences) + "\n"
                "Use another --workdir, or the configuration of that run."
            )

    def member(self, seed: int, own_asm: bool) -> "Workdir":
        """The workdir of one seed inside this one, with the configuration of that seed run alone.

        own_asm: the seed has its own ASM; otherwise it uses the ASM of this workdir.
        """
        config = ConfigDict(self._config)
        config.update(seed=seed, num_seeds=1)
        config.asm.per_seed = False
        member = Workdir(str(self.path / f"seed_{seed}"), config)
        member._outer = self
        if not own_asm:
            member.asm = self.asm
        return member

    def stage(self, name: str) -> pathlib.Path:
        """Creates and returns the directory of a stage; the configuration is recorded first."""
        self._record()
        directory = self.path / name
        directory.mkdir(exist_ok=True)
        return directory

    def _record(self):
        if self._outer is not None:
            self._outer._record()
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / CONFIG).exists():
            write_json(self.path / CONFIG, self._config)

    def finish(self, name: str, summary: dict) -> dict:
        """Records a stage as finished, with its figures."""
        write_json(self.stage(name) / "summary.json", summary)
        return summary

    def summary(self, name: str) -> dict | None:
        """The figures of a finished stage; None if it is not finished."""
        path = self.path / name / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None
