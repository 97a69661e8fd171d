"""One writer: a second process is refused, or waits and is told for whom; the lock of a dead one is free."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest
from ml_collections import ConfigDict

from spin_jax.errors import WorkdirError
from spin_jax.record import lock
from spin_jax.record.lock import locked, waiting
from spin_jax.record.workdir import Workdir

HOLD = """
import pathlib, subprocess, sys
from spin_jax.record.lock import one_writer
with one_writer(pathlib.Path(sys.argv[1]), sys.exit):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    sys.stdin.read()
child.kill()
"""


@pytest.fixture
def holder(tmp_path):
    """holder(path) -> a process that holds the lock file, and has a child of its own; both end with the test."""
    started, children = [], []

    def start(path: pathlib.Path) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        children.append(int(started[-1].stdout.readline()))
        return started[-1]

    yield start
    for process, child in zip(started, children, strict=True):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # first: it holds the pipe
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_with_the_first_ones_name(holder, tmp_path):
    first = holder(tmp_path / ".lock")
    who = f"process {first.pid} on {socket.gethostname()}"
    with pytest.raises(WorkdirError, match=f"--workdir={tmp_path} is in use by {who}. Wait .*another --workdir"):
        locked(tmp_path).__enter__()
    assert (tmp_path / ".lock").exists()


def test_the_lock_of_a_killed_process_is_free_though_its_child_lives(holder, tmp_path):
    first = holder(tmp_path / ".lock")
    first.kill()
    first.wait()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert not (tmp_path / ".lock").exists()


def test_a_second_process_waits_for_data_and_says_for_whom(holder, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(lock.log, "info", told.append)
    first, entered = holder(tmp_path / "a.lock"), threading.Event()

    def wait():
        with waiting(tmp_path / "a.lock", "data: a"):
            entered.set()

    second = threading.Thread(target=wait)
    second.start()
    assert not entered.wait(1)
    assert told == [f"data: a: waits for process {first.pid} on {socket.gethostname()}, which makes it"]
    first.communicate("")  # it removes its lock file as it ends
    assert entered.wait(10)
    second.join()
    assert not list(tmp_path.iterdir())


def test_a_workdir_that_stays_empty_is_removed_and_one_that_was_locked_may_be_used_again(tmp_path):
    workdir = Workdir(str(tmp_path / "work"), ConfigDict({"seed": 0}))
    with workdir.locked():
        assert [path.name for path in workdir.path.iterdir()] == [".lock"]
        Workdir(str(workdir.path), ConfigDict({"seed": 0}))  # a lock alone is no foreign content
    assert not workdir.path.exists()
    with workdir.locked():
        workdir.stage("data")
    assert sorted(path.name for path in workdir.path.iterdir()) == ["config.json", "data"]


def test_another_run_that_finished_meanwhile_is_noticed(tmp_path):
    ours, theirs = (Workdir(str(tmp_path / "work"), ConfigDict({"seed": seed})) for seed in (0, 1))
    with theirs.locked():
        theirs.stage("data")
    with pytest.raises(WorkdirError, match="config.seed: there 1, now 0"):
        ours.locked().__enter__()


def test_the_workdir_of_a_seed_has_the_lock_of_the_whole_run(holder, tmp_path):
    config = ConfigDict({"seed": 0, "num_seeds": 2, "asm": {"per_seed": False}})
    outer = Workdir(str(tmp_path / "work"), config)
    inner = outer.member(1, own_asm=False)
    inner.stage("policy")
    holder(tmp_path / "work" / ".lock")
    with pytest.raises(WorkdirError, match=f"--workdir={outer.path} is in use"):
        inner.locked().__enter__()


def test_a_file_system_without_locks_is_told_of_and_used(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(lock.log, "warning", told.append)

    def unsupported(*_, **__):
        raise OSError(lock.UNSUPPORTED[0], "no locks here")

    monkeypatch.setattr(lock.FileLock, "acquire", unsupported)
    with locked(tmp_path / "work"):
        (tmp_path / "work" / "file").touch()
    assert "file system without locks" in told[0]
