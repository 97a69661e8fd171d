"""Does to smoke runs what disks, other people and other processes do: `python -m benchmarks.faults`.

After every fault the same command runs again. It must either end as the undisturbed run did, or refuse with one line;
anything else is listed, and the exit code is 1. Kinds of faults: damaged files (a flipped byte, a cut file), a full
disk (needs the right to mount a tmpfs), two writers, killed workers, swapped logs and ASMs, hostile folders.
"""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from absl import flags

from benchmarks.kills import REPOSITORY, Run
from benchmarks.measure import write
from spin_jax import command
from spin_jax.record.progress import Progress

SAME, REFUSED, SAID = "ends as if nothing had happened", "refused", "goes on, and says so"
POLICY = "spin_cached"  # with encodings, so that every kind of file exists
OPTIONS = [f"--config={REPOSITORY}/configs/cheetah_run.py:smoke", f"--config.policy={POLICY}"]
NUMBER = re.compile(r"[0-9a-f]{32}$|tfevents.*|(?<=/)\d+(?=/)|-\d{5}-of-\d{5}")
DISKS_MB = (1, 2, 4, 6, 9)


class Row(NamedTuple):
    """A fault and what came of it; bad: neither the same end nor one line."""

    kind: str
    fault: str
    outcome: str
    line: str
    bad: bool


class Base:
    """A finished smoke run that faults are done to copies of."""

    def __init__(self, root: pathlib.Path, *options: str):
        self.options = [*OPTIONS, *options]
        self.run = Run(root, self.options)
        self.run.go()
        self.facts = self.run.facts()

    def copy(self, root: pathlib.Path) -> Run:
        """The run in another folder, where it finds its own data."""
        made = Run(root, self.options)
        for name in ("work", "data"):
            shutil.copytree(self.run.root / name, root / name, symlinks=True)
        config = root / "work" / "config.json"
        config.write_text(config.read_text().replace(str(self.run.root), str(root)))
        return made


def told(run: Run, *extra: str, environment: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """(exit code, lines) of the command of a run."""
    arguments = [sys.executable, str(REPOSITORY / "main.py"), f"--workdir={run.work}", *OPTIONS]
    arguments.append(f"--config.data.dir={run.data}")
    here = os.environ | {"PYTHONPATH": str(REPOSITORY)} | (environment or {})
    done = subprocess.run([*arguments, *extra], capture_output=True, text=True, env=here, timeout=600)
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()


def outcome(kind: str, fault: str, run: Run, base: Base, *extra: str) -> Row:
    """Runs the command and says how it ended."""
    code, lines = told(run, *extra)
    errors = [line for line in lines if line.startswith("error: ")]
    traceback = any("Traceback" in line or line.startswith("error: unexpected") for line in lines)
    if code == 0:
        same = {name: fact for name, fact in run.facts().items() if base.facts.get(name) != fact}
        warned = [line for line in lines if "anew" in line or "left out" in line or "not kept" in line]
        end = f"other results: {', '.join(sorted(same))}" if same else SAID if warned else SAME
        return Row(kind, fault, end, warned[-1] if warned else "", bool(same) or traceback)
    line = errors[-1] if errors else (lines or [""])[-1]
    return Row(kind, fault, REFUSED, line, len(errors) != 1 or traceback)


def kinds_of_files(run: Run) -> dict[str, pathlib.Path]:
    """One file of every kind that a run writes, by its path without numbers."""
    found: dict[str, pathlib.Path] = {}
    for folder in (run.work, run.data):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size:
                found.setdefault(NUMBER.sub("*", str(path.relative_to(run.root))), path)
    return found


def flip(path: pathlib.Path) -> None:
    """Changes a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x21
    path.write_bytes(data)


def cut(path: pathlib.Path) -> None:
    """Cuts a file to half of its length."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged(base: Base, root: pathlib.Path) -> Iterator[Callable[[], Row]]:
    """A flipped byte and a cut in one file of every kind."""
    for name, path in kinds_of_files(base.run).items():
        for how in (flip, cut):
            yield functools.partial(_damage, base, root, name, path, how)


def _damage(base: Base, root: pathlib.Path, name: str, path: pathlib.Path, how: Callable) -> Row:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        run = base.copy(pathlib.Path(folder) / "run")
        how(run.root / path.relative_to(base.run.root))
        # stage 2 is unfinished, so that all that it reads is read
        shutil.rmtree(run.work / "policy" / "state" / "80", ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (run.work / "policy" / "summary.json").unlink()
        return outcome("damaged files", f"{how.__name__}: {name}", run, base)


def full_disks(base: Base, root: pathlib.Path) -> Iterator[Callable[[], Row]]:
    """A disk that is too small for a run, which is then made larger."""
    for size in DISKS_MB:
        yield functools.partial(_full_disk, base, root, size)


def _full_disk(base: Base, root: pathlib.Path, size: int) -> Row:
    place = root / "disk"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", str(place)], check=True)
    try:
        run = Run(place / "run", base.options)
        code, lines = told(run, environment={"TMPDIR": str(place)})
        errors = [line for line in lines if line.startswith("error: ")]
        bad = code != 1 or len(errors) != 1 or any("Traceback" in line for line in lines)
        subprocess.run(["mount", "-o", "remount,size=400m", str(place)], check=True)
        again = outcome("full disk", f"{size} MB", run, base)
        line = errors[-1] if errors else (lines or [""])[-1]
        return again._replace(outcome=f"{REFUSED}; with more room {again.outcome}", line=line, bad=bad or again.bad)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def two_writers(base: Base, root: pathlib.Path) -> Iterator[Callable[[], Row]]:
    """A second process on the same workdir, on the same data set, on the same import."""
    yield functools.partial(_same_workdir, base, root)
    yield functools.partial(_same_data, base, root)


def _started(run: Run, until: Callable[[], bool]) -> subprocess.Popen:
    (child,) = run.start()
    while not until() and child.poll() is None:
        time.sleep(0.01)
    return child


def _same_workdir(base: Base, root: pathlib.Path) -> Row:
    run = Run(root / "writers", base.options)
    child = _started(run, lambda: (run.work / ".lock").exists())
    code, lines = told(run)
    child.wait()
    same = run.facts() == base.facts
    return Row("two writers", "the same workdir", REFUSED if code else "accepted", lines[-1], code != 1 or not same)


def _same_data(base: Base, root: pathlib.Path) -> Row:
    """With a longer log, so that the second process comes while it is made."""
    longer = [*base.options, "--config.data.episodes=40"]
    run, other = Run(root / "first", longer), Run(root / "second", longer)
    other.data = run.data
    child = _started(run, lambda: run.data.exists() and any(run.data.iterdir()))
    code, lines = told(other, "--config.data.episodes=40")
    child.wait()
    waited = [line for line in lines if "waits for" in line]
    bad = code != 0 or not waited or run.facts() != other.facts()
    return Row("two writers", "the same data set", "waits", (waited or lines)[-1], bad)


def dead_workers(base: Base, root: pathlib.Path) -> Iterator[Callable[[], Row]]:
    """An environment process that is killed: while the log is made, and while policies are evaluated."""
    for stage in ("data", "policy"):
        yield functools.partial(_dead_worker, base, root, stage)


def _dead_worker(base: Base, root: pathlib.Path, stage: str) -> Row:
    run = Run(root / f"worker_{stage}", [*base.options, "--config.data.num_workers=2", "--config.eval.num_workers=2"])
    place = run.data if stage == "data" else run.work / "policy"
    (child,) = run.start()
    while not (place.exists() and _workers(child.pid)) and child.poll() is None:
        time.sleep(0.01)
    workers = _workers(child.pid)
    for worker in workers[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    code = child.wait()
    same = run.facts() == base.facts
    line = (run.root / "told").read_text(errors="replace").strip().splitlines()[-1]
    end = SAME if same and not code else f"exit code {code}, {'the same' if same else 'other'} results"
    bad = not workers or code != 0 or not same
    return Row("dead workers", f"killed in stage {stage}", end, "" if same else line, bad)


def _workers(parent: int) -> list[int]:
    """The processes that a process has started with multiprocessing."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            owner = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if owner == parent and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def swaps(base: Base, root: pathlib.Path) -> Iterator[Callable[[], Row]]:
    """Another ASM, another log, another split where the run's own was."""
    yield functools.partial(_swapped, base, root, "the ASM of another seed", _other_asm)
    yield functools.partial(_swapped, base, root, "the log of another seed", _other_log)
    yield functools.partial(_swapped, base, root, "medium's shard in place of expert's", _other_shard)


def _swapped(base: Base, root: pathlib.Path, what: str, swap: Callable[[Run, Run], None]) -> Row:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        run = base.copy(pathlib.Path(folder) / "run")
        other = Run(pathlib.Path(folder) / "other", [*base.options, "--config.seed=7", "--config.data.seed=7"])
        if swap is not _other_shard:
            other.go()
        swap(run, other)
        return outcome("swapped", what, run, base)


def _other_asm(run: Run, other: Run) -> None:
    shutil.rmtree(run.work / "asm")
    shutil.copytree(other.work / "asm", run.work / "asm")


def _other_log(run: Run, other: Run) -> None:
    (mine,), (theirs,) = (list(r.data.glob("factorised_dmc/*/1.0.0")) for r in (run, other))
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)


def _other_shard(run: Run, _: Run) -> None:
    (medium,), (expert,) = (list(run.data.rglob(f"*-{split}.array_record*")) for split in ("medium", "expert"))
    shutil.copy(medium, expert)


def hostile(base: Base, root: pathlib.Path) -> Iterator[Callable[[], Row]]:
    """A data set that names code, and a workdir with links to files of others."""
    yield functools.partial(_hostile_data, base, root)
    yield functools.partial(_links, base, root)


def _hostile_data(base: Base, root: pathlib.Path) -> Row:
    run = base.copy(root / "hostile")
    (root / "evil_features.py").write_text(f"open({str(root / 'ran')!r}, 'w')\n")
    (features,) = run.data.rglob("features.json")
    named = re.sub(
        r'"pythonClassName": "[^"]*"', '"pythonClassName": "evil_features.Evil"', features.read_text(), count=1
    )
    features.write_text(named)
    row = outcome("hostile", "features.json names a class of another module", run, base)
    return row._replace(bad=row.bad or row.outcome != REFUSED or (root / "ran").exists())


def _links(base: Base, root: pathlib.Path) -> Row:
    run, precious = base.copy(root / "links"), root / "precious"
    precious.write_text("mine\n")
    for name in ("curves.png", "results.json", "evaluate/summary.json.tmp", "video.webp"):
        (run.work / name).unlink(missing_ok=True)
        (run.work / name).symlink_to(precious)
    row = outcome("hostile", "links to a file of others where the run writes", run, base)
    return row._replace(bad=precious.read_text() != "mine\n" or (row.bad and row.outcome != REFUSED))


KINDS: dict[str, Any] = {
    "damaged": damaged, "disk": full_disks, "writers": two_writers, "workers": dead_workers, "swaps": swaps,
    "hostile": hostile,
}  # fmt: skip


def main(_: list[str]) -> int:
    rows = []
    with tempfile.TemporaryDirectory(dir=FLAGS.root) as folder:
        root = pathlib.Path(folder)
        base = Base(root / "base")
        faults = [fault for kind in FLAGS.only or KINDS for fault in KINDS[kind](base, root)][:: FLAGS.every]
        with Progress("faults", len(faults), unit="fault") as progress:
            for number, fault in enumerate(faults, 1):
                rows.append(fault())
                progress.update(number)
    print("| kind | fault | what happens | what is said |\n|---|---|---|---|")
    for row in rows:
        line = row.line.replace(folder, "").replace("|", "/")
        print(f"| {row.kind} | {row.fault} | {'**BAD** ' if row.bad else ''}{row.outcome} | {line} |")
    bad = sum(row.bad for row in rows)
    print(f"\n{len(rows)} faults, {bad} that ended otherwise than they should")
    write(FLAGS.json, faults=len(rows), rows=[row._asdict() for row in rows])
    return int(bool(bad))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_multi_enum("only", [], list(KINDS), "kinds of faults; all by default")
    flags.DEFINE_integer("every", 1, "only every n-th fault", lower_bound=1)
    flags.DEFINE_string("root", None, "folder to work in; default: the temporary directory")
    flags.DEFINE_string("json", "", "file to write")
    command.run(main)
