"""Faults around a run: a full disk, a second process, a worker that is killed."""

import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.fault_base import REFUSED, SAME, Base, Fault, Row, outcome, refusal, told
from benchmarks.kills import REPOSITORY, Run

DISKS_MB = (1, 2, 4, 6, 9)


def full_disks(base: Base, root: pathlib.Path) -> Iterator[Fault]:
    """A disk that is too small for a run, which is then made larger."""
    for size in DISKS_MB:
        yield functools.partial(_full_disk, base, root, size)


def _full_disk(base: Base, root: pathlib.Path, size: int) -> Row:
    place = root / "disk"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "none", str(place)], check=True)
    try:
        run = Run(place / "run", base.options)
        code, lines = told(run, TMPDIR=str(place))
        line, bad = refusal(lines)
        subprocess.run(["mount", "-o", "remount,size=400m", str(place)], check=True)
        again = outcome("full disk", f"{size} MB", run, base)
        end = f"{REFUSED}; with more room {again.outcome}"
        return again._replace(outcome=end, line=line, bad=code != 1 or bad or again.bad)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def two_writers(base: Base, root: pathlib.Path) -> Iterator[Fault]:
    """A second process on the same workdir, on the same data set, and on the same import."""
    yield functools.partial(_same_workdir, base, root)
    yield functools.partial(_same_data, base, root)
    yield functools.partial(_same_import, root)


def _started(run: Run, until: Callable[[int], bool]) -> subprocess.Popen:
    """The process of a run, when until(its number) holds or it has ended."""
    (child,) = run.start()
    while not until(child.pid) and child.poll() is None:
        time.sleep(0.01)
    return child


def _same_workdir(base: Base, root: pathlib.Path) -> Row:
    run = Run(root / "writers", base.options)
    child = _started(run, lambda _: (run.work / ".lock").exists())
    code, lines = told(run)
    child.wait()
    same = run.facts() == base.facts
    return Row("two writers", "the same workdir", REFUSED if code else "accepted", lines[-1], code != 1 or not same)


def _same_data(base: Base, root: pathlib.Path) -> Row:
    """With a longer log, so that the second process comes while it is made."""
    longer = [*base.options, "--config.data.episodes=40"]
    run = Run(root / "first", longer)
    other = Run(root / "second", longer, data=run.data)
    child = _started(run, lambda _: run.data.exists() and any(run.data.iterdir()))
    code, lines = told(other)
    child.wait()
    waited = [line for line in lines if "waits for" in line]
    bad = code != 0 or not waited or run.facts() != other.facts()
    return Row("two writers", "the same data set", "waits", (waited or lines)[-1], bad)


def _same_import(root: pathlib.Path, episodes: int = 20_000, steps: int = 10) -> Row:
    """Of a table that takes longer to write than a process takes to start."""
    table, data, rng = root / "table.npz", root / "imports", np.random.default_rng(0)
    rows = episodes * steps
    np.savez(
        table,
        observation=rng.normal(size=(rows, 8)).astype(np.float32),
        action=rng.integers(0, 4, (rows, 3)),
        reward=rng.normal(size=rows),
        terminal=np.arange(rows) % steps == steps - 1,
    )
    command = [sys.executable, "-m", "spin_jax.logs.import_log", str(table), f"--data_dir={data}"]
    first = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    while first.poll() is None and not any(data.glob(".importing_*")):
        time.sleep(0.01)
    second = subprocess.run(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, timeout=600)
    _, told = first.communicate()
    waited = [line for line in second.stderr.splitlines() if "waits for" in line]
    end = told.splitlines()[-1:], second.stderr.splitlines()[-1:]  # each names the data set
    bad = bool(first.returncode or second.returncode) or not waited or end[0] != end[1]
    return Row("two writers", "the same import", "waits", (waited or second.stderr.splitlines() or [""])[-1], bad)


def dead_workers(base: Base, root: pathlib.Path) -> Iterator[Fault]:
    """An environment process that is killed: while the log is made, and while policies are evaluated."""
    for stage in ("data", "policy"):
        yield functools.partial(_dead_worker, base, root, stage)


def _dead_worker(base: Base, root: pathlib.Path, stage: str) -> Row:
    run = Run(root / f"worker_{stage}", [*base.options, "--config.data.num_workers=2", "--config.eval.num_workers=2"])
    place = run.data if stage == "data" else run.work / "policy"
    child = _started(run, lambda pid: place.exists() and bool(_workers(pid)))
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
