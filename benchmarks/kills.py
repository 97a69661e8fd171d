"""Kills runs with SIGKILL at random moments and compares what they end with to a run that nobody killed.

    python -m benchmarks.kills --kills=10 --json=FILE

Each experiment starts smoke runs of one workdir one after another and kills each when a random number of files has
come and gone, so also while files are written, until one comes to its end. Its arrays (by their checksums), data set,
metrics and results must be those of the whole run, bit for bit, and nothing may be left behind: in the workdir, in the
folder of data sets, in the temporary directory, in /dev/shm. Exits with 1 otherwise.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import flags

from benchmarks.measure import write
from launch.local_processes import start
from spin_jax import command
from spin_jax.data.rlds import EpisodeSource, open_data_set
from spin_jax.record.checkpoint import digest
from spin_jax.record.progress import setup_logging

REPOSITORY = pathlib.Path(__file__).parent.parent
MEMORY = pathlib.Path("/dev/shm")
DIFFER = ("seconds", "train_seconds", "eval_seconds", "updates_per_second", "commit")  # from run to run
LEFT = r"^tmp/|^/dev/|\.lock$|\.tmp$|incomplete|_pieces|orbax-checkpoint-tmp"  # what a run should not end with
LONGEST = 600  # seconds of one start


def working_folder(root: str | None) -> tempfile.TemporaryDirectory:
    """A new folder in `root`, which is made if it is not there, or in the temporary directory."""
    if root:
        pathlib.Path(root).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=root)


class Run:
    """The smoke run in the folder `root`, with a temporary directory of its own; data: its data sets, if elsewhere."""

    def __init__(self, root: pathlib.Path, options: list[str], processes: int = 1, data: pathlib.Path | None = None):
        self.root, self._processes = root, processes
        self.work, self.data, self._tmp = root / "work", data or root / "data", root / "tmp"
        self._tmp.mkdir(parents=True)
        self._before = set(os.listdir(MEMORY))
        self.command = [sys.executable, str(REPOSITORY / "main.py"), f"--workdir={self.work}"]
        self.command += [*options, f"--config.data.dir={self.data}"]

    def start(self) -> list[subprocess.Popen]:
        """Starts the command; what it says is added to the file `told`."""
        here = {name: os.environ.get(name) for name in ("TMPDIR", "PYTHONPATH")}
        paths = [str(REPOSITORY), *filter(None, [here["PYTHONPATH"]])]
        os.environ |= {"TMPDIR": str(self._tmp), "PYTHONPATH": os.pathsep.join(paths)}
        try:
            if self._processes > 1:
                return start(self.command, self._processes)
            with (self.root / "told").open("ab") as told:
                return [subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)]
        finally:
            for name, value in here.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def names(self) -> set[str]:
        """The paths of all that is in the folders of the run, and of its shared memory."""
        found = {f"{MEMORY}/{name}" for name in set(os.listdir(MEMORY)) - self._before}
        for root in (self.work, self.data, self._tmp):
            for folder, folders, files in os.walk(root):
                found |= {os.path.relpath(os.path.join(folder, name), self.root) for name in folders + files}
        return found

    def go(self, changes: float = float("inf"), delay: float = 0.0) -> tuple[bool, int]:
        """Starts the run and kills it `delay` seconds after its names have changed `changes` times.

        Returns (whether it was killed, how often the names changed). Raises RuntimeError if it fails.
        """
        children, names, seen, begin = self.start(), self.names(), 0, time.monotonic()
        while any(child.poll() is None for child in children):
            if seen >= changes or time.monotonic() - begin > LONGEST:
                time.sleep(delay)
                for child in children:
                    child.send_signal(signal.SIGKILL)
                killed = [child.wait() for child in children]
                return -signal.SIGKILL in killed, seen
            now = self.names()
            seen, names = seen + (now != names), now
            time.sleep(0.002)
        if any(child.returncode for child in children):
            raise RuntimeError(f"{self.command} failed: {(self.root / 'told').read_text(errors='replace')[-3000:]}")
        return False, seen

    def facts(self, data: bool = True) -> dict[str, Any]:
        """What must be the same: {name: checksum or figures}; data: of the data sets, too."""
        found: dict[str, Any] = {}
        for path in self.work.rglob("record/metadata"):
            found[f"arrays {path.parent.parent.relative_to(self.work)}"] = json.loads(path.read_text())["sha256"]
        for path in self.data.rglob("dataset_info.json") if data else ():
            for split in open_data_set(str(path.parent)).info.splits:
                arrays = [part for episode in EpisodeSource(str(path.parent), split) for part in episode[:4]]
                found[f"data {split}"] = digest({f"{i:06d}": part for i, part in enumerate(arrays)})
        for path in [*self.work.rglob("metrics.jsonl"), *self.work.glob("results.json")]:
            rows = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[str(path.relative_to(self.work))] = [_without_times(row) for row in rows]
        return found

    def places(self) -> set[str]:
        """The names without those numbers that are drawn anew for each file."""
        names = (re.sub(r"(/d/)[0-9a-f]{32}$", r"\1array", name) for name in self.names())
        return {re.sub(r"events\.out\.tfevents\..*", "events", name) for name in names}


def _without_times(row: str) -> str:
    """A JSON object without the figures that differ from run to run; a damaged one as it is."""
    try:
        return json.dumps(json.loads(row, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k not in DIFFER}))
    except ValueError:
        return row


def experiment(
    run: Run, whole: Run, changes: int, most: int, rng: np.random.Generator, spread: int
) -> tuple[list[str], dict[str, list[str]]]:
    """Kills `run` up to `most` times; returns (where, {"different": names of facts, "left": paths})."""
    moments = []
    for _ in range(most):
        killed, _ = run.go(int(rng.integers(1, max(2 * changes // spread, 2))), rng.uniform(0, 0.05))
        if not killed:
            break
        moments.append(_stage(run))
    else:
        run.go()
    time.sleep(1)  # worker processes notice that their parent is gone
    expected, found = whole.facts(), run.facts()
    different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    return moments, {"different": sorted(different), "left": sorted(run.places() - whole.places())}


def _stage(run: Run) -> str:
    """The stage that a kill has hit, as the folders say."""
    for stage in ("evaluate", "policy", "distill", "pretrain"):
        if (run.work / stage).exists():
            return stage
    return "data"


def main(_: list[str]) -> None:
    setup_logging()
    rng = np.random.default_rng(FLAGS.seed)
    rows: list[dict] = []
    options = [f"--config={REPOSITORY}/configs/{FLAGS.task}.py:smoke", f"--config.policy={FLAGS.policy}"]
    options += [f"--config.num_seeds={FLAGS.num_seeds}", f"--config.data.mode={'stream' if FLAGS.stream else 'memory'}"]
    options += FLAGS.option
    with working_folder(FLAGS.root) as folder:
        whole = Run(pathlib.Path(folder) / "whole", options, FLAGS.processes)
        changes = whole.go()[1]
        left = sorted(name for name in whole.names() if re.search(LEFT, name))
        print(f"the whole run: {changes} changes; left behind: {left or 'nothing'}", flush=True)
        kills = 0
        while kills < FLAGS.kills:
            run = Run(pathlib.Path(folder) / f"killed_{len(rows)}", options, FLAGS.processes)
            spread = min(FLAGS.each, FLAGS.kills - kills)
            moments, found = experiment(run, whole, changes, spread, rng, spread)
            kills += len(moments)
            rows.append({"kills": moments, **found})
            print(f"killed {len(moments)} times ({', '.join(moments)}): {found}", flush=True)
    bad = sum(bool(row["different"] or row["left"]) for row in rows)
    print(f"{kills} kills in {len(rows)} runs: {bad} ended otherwise or left something behind")
    write(FLAGS.json, kills=kills, left_by_the_whole_run=left, options=options, runs=rows)
    sys.exit(1 if bad or left else 0)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("task", "cheetah_run", "a task that is simulated")
    flags.DEFINE_integer("kills", 10, "kills in all", lower_bound=1)
    flags.DEFINE_integer("each", 5, "kills of one workdir at most", lower_bound=1)
    flags.DEFINE_string("policy", "spin_warm", "config.policy")
    flags.DEFINE_integer("num_seeds", 1, "config.num_seeds", lower_bound=1)
    flags.DEFINE_integer("processes", 1, "processes of one distributed run", lower_bound=1)
    flags.DEFINE_boolean("stream", False, "config.data.mode=stream")
    flags.DEFINE_multi_string("option", [], "another option of main.py, as --config.eval.num_workers=2; may repeat")
    flags.DEFINE_integer("seed", 0, "of the moments")
    flags.DEFINE_string("root", None, "folder to work in; default: the temporary directory")
    flags.DEFINE_string("json", "", "file to write")
    command.run(main)
