"""A run's directory: it holds one configuration, never a second one, and a JSON summary of each finished stage."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from spin_jax.errors import WorkdirError
from spin_jax.record.files import NUMBER, Each, Fields, read_json, write_json
from spin_jax.record.lock import LOCK, locked
from spin_jax.record.processes import is_first

CONFIG = "config.json"
# these may differ between two calls on one workdir: they do not change what is trained
MAY_CHANGE = ("eval", "ope", "data.num_workers", "seeds_per_batch", "mesh", "train.keep_policies")

METRICS: Fields = {"exact_match": NUMBER, "slot_accuracy": Each(list, NUMBER), "accuracy_product": NUMBER}
JUDGED: Fields = {
    **dict.fromkeys(("mean", "low", "high", "joint_share"), NUMBER),
    "supported": bool,
    "verdict": str,
    "coverage": Each(list, NUMBER),
}
SUMMARIES: dict[str, Fields] = {  # what others read of the summary of each stage
    "data": {"directory": str, "data_returns": Each(dict, NUMBER), "seconds": NUMBER},
    "pretrain": {"seconds": NUMBER, "probe_name": str, "untrained": METRICS, "trained": METRICS},
    "distill": {"seconds": NUMBER},
    "policy": {"seconds": NUMBER, "updates_per_second": NUMBER, "parameters": int, "frozen_parameters": int},
    "evaluate": {
        "seconds": NUMBER,
        "returns": Each(list, NUMBER),
        "return_mean": NUMBER,
        "return_ci95": Each(list, NUMBER),
    },
    "ope": {
        **dict.fromkeys(("seconds", "gamma", "log_return", "log_return_error", "unseen_share"), NUMBER),
        "measured_on": str,
        "episodes": int,
        "slots": Each(list, str),
        "policies": Each(dict, JUDGED),
    },
}


def read_config(workdir: pathlib.Path) -> dict:
    """The configuration of the run in `workdir`; raises WorkdirError if it cannot be read."""
    way_out = f"Restore {CONFIG} from a copy, or choose another --workdir."
    return read_json(workdir / CONFIG, WorkdirError, way_out, {})


def flat(values: dict, prefix: str = "") -> dict:
    """A nested dict as one level: {'asm.width': 64, …}."""
    result: dict = {}
    for name, value in values.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        result |= inner
    return result


def _of_a_beginning(name: str) -> bool:
    """Whether a file is what a run that was killed before it had written its configuration leaves."""
    return name == LOCK or (name.startswith(f".{CONFIG}.") and name.endswith(".tmp"))


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
            self._compare(read_config(self.path))
        elif self.path.is_dir() and any(not _of_a_beginning(path.name) for path in self.path.iterdir()):
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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes this process the only one that writes here; raises WorkdirError, which names the other, if one does.

        The workdirs of single seeds share the lock of the outer one.
        """
        outer = self.path.parent
        inner = self.path.name.startswith("seed_") and (outer / CONFIG).exists()
        with locked(outer if inner else self.path):
            self._check()  # another process may have been here before the lock
            yield

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
        """The figures of a finished stage; None if it is not finished. Raises WorkdirError on a damaged summary."""
        path = self.path / name / "summary.json"
        way_out = f"Delete it and run --stage={name} again: what is finished is not computed anew."
        return read_json(path, WorkdirError, way_out, SUMMARIES[name]) if os.path.lexists(path) else None
