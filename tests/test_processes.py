"""Real processes on this machine: one run of two, a preemption, a death, an error, and one process that goes on."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from spin_jax.record import processes
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import read_rows
from spin_jax.record.processes import CODES

ROOT = pathlib.Path(__file__).parent.parent
STEPS = 40
pytestmark = pytest.mark.slow


def start(workdir, data, *arguments, processes=2, devices=2, distributed=True):
    """The processes of one run, started as a launcher would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "main.py", "--config=configs/cheetah_run.py:smoke", f"--workdir={workdir}"]
    command += [f"--config.data.dir={data}", f"--config.train.num_steps={STEPS}", "--config.train.max_chunk=5"]
    command += ["--config.eval.asynchronous=off", *arguments]
    team = []
    for index in range(processes):
        joined = [f"--distributed=127.0.0.1:{port},{processes},{index}"] if distributed else []
        with open(f"{workdir}.{index}.log", "a") as output:  # the process keeps it open
            team.append(subprocess.Popen([*command, *joined], cwd=ROOT, env=environment, stderr=output, stdout=output))
    return team


def end(team, seconds=400):
    return [process.wait(seconds) for process in team]


def told(workdir, index):
    return pathlib.Path(f"{workdir}.{index}.log").read_text()


def wait_for_steps(workdir, team, steps=1):
    """Waits until stage 2 has written metrics of a few chunks."""
    path, begin = workdir / "policy" / "metrics.jsonl", time.monotonic()
    while sum("policy_loss" in row for row in read_rows(path)) < steps:
        assert time.monotonic() - begin < 400
        assert all(process.poll() is None for process in team), told(workdir, 0)
        time.sleep(0.1)


def stored(workdir):
    """{step: SHA-256 of the state} of stage 2."""
    store = CheckpointStore(workdir / "policy" / "state")
    records = {step: store.directory / str(step) / "record" / "metadata" for step in store.steps()}
    return {step: json.loads(path.read_text())["sha256"] for step, path in records.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(workdir, data) of a run of two processes with two devices each, from data to report, that nothing stopped."""
    root = tmp_path_factory.mktemp("processes")
    team = start(root / "whole", root / "data")
    assert end(team) == [0, 0], told(root / "whole", 0) + told(root / "whole", 1)
    return root / "whole", root / "data"


def test_two_processes_go_from_data_to_report(whole):
    workdir, _ = whole
    results = json.loads((workdir / "results.json").read_text())
    assert results["episodes"] == 2
    assert {"pretrain", "policy", "evaluate"} <= results["seconds"].keys()
    first, second = told(workdir, 0), told(workdir, 1)
    assert "waits while process 0 makes the log" in second
    for line in ("pretrain:", "steps,", "return "):
        assert line in first
        assert line not in second.replace("waits while process 0 evaluates and reports", "")


def test_after_sigterm_to_one_both_save_the_same_step_and_one_process_ends_it_bit_for_bit(whole, tmp_path):
    """The one process has all 4 devices, and --distributed too, so that they add up in the same order."""
    _, data = whole
    arguments = ("--config.policy=factored",)  # without stage 1, to be quick; spin_warm was shown to do the same
    uninterrupted, workdir = tmp_path / "uninterrupted", tmp_path / "stopped"
    assert end(start(uninterrupted, data, *arguments)) == [0, 0], told(uninterrupted, 0)
    team = start(workdir, data, *arguments)
    wait_for_steps(workdir, team)
    team[1].send_signal(signal.SIGTERM)
    assert end(team) == [CODES[signal.SIGTERM]] * 2, told(workdir, 0) + told(workdir, 1)
    (step,) = stored(workdir)
    assert 0 < step < STEPS
    for index in range(2):
        assert f"SIGTERM; saved step {step} of {STEPS}" in told(workdir, index)
    assert end(start(workdir, data, *arguments, processes=1, devices=4)) == [0], told(workdir, 0)
    assert f"resuming from step {step} of {STEPS}" in told(workdir, 0)
    assert stored(workdir) == stored(uninterrupted)
    assert (workdir / "results.json").exists()


def test_a_killed_process_takes_the_others_along_and_the_rerun_finishes(whole, tmp_path):
    """In stream mode, where every process reads episodes of its own."""
    _, data = whole
    workdir = tmp_path / "killed"
    arguments = ("--config.policy=factored", "--config.data.mode=stream")
    team = start(workdir, data, *arguments)
    wait_for_steps(workdir, team)
    begin = time.monotonic()
    team[1].kill()
    codes = end(team)
    assert time.monotonic() - begin < 60
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0
    assert end(start(workdir, data, *arguments)) == [0, 0], told(workdir, 0)


def test_an_error_of_one_process_is_told_by_all(tmp_path):
    """The second process asks for a workdir that is a file; both end with that error, not with a hang."""
    (tmp_path / "file").write_text("")
    begin = time.monotonic()
    team = start(tmp_path / "file", tmp_path / "data")
    assert all(code != 0 for code in end(team))
    assert time.monotonic() - begin < 120
    for index in range(2):
        assert "is a file, not a directory" in told(tmp_path / "file", index)


def test_one_process_saves_and_exits_75_too(whole, tmp_path):
    _, data = whole
    workdir = tmp_path / "alone"
    arguments = ("--config.policy=factored", "--config.train.num_steps=5000")  # alone it is quick
    team = start(workdir, data, *arguments, processes=1, devices=1, distributed=False)
    wait_for_steps(workdir, team)
    team[0].send_signal(signal.SIGTERM)
    assert end(team) == [CODES[signal.SIGTERM]], told(workdir, 0)
    (step,) = stored(workdir)
    assert f"SIGTERM; saved step {step} of 5000" in told(workdir, 0)


@pytest.mark.parametrize("wrong", ["yes", "host:1,2", "host:1,two,0"])
def test_a_wrong_flag_is_named(wrong, tmp_path):
    command = [sys.executable, "main.py", "--config=configs/cheetah_run.py:smoke", f"--workdir={tmp_path}"]
    done = subprocess.run([*command, f"--distributed={wrong}"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"error: --distributed must be auto, off or host:port,n,i, got '{wrong}'" in done.stderr


def test_the_preemption_service_gets_numbers_that_grow_by_one_over_all_stages(monkeypatch):
    """It never fires if a number jumps, so a stage must not count from the start again."""
    asked = []
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.multihost_utils, "reached_preemption_sync_point", asked.append)
    for _ in range(5):
        processes.asked_to_stop()
    assert asked == list(range(asked[0], asked[0] + 5))
