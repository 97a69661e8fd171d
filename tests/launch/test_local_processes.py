"""launch.local_processes with a small program in place of main.py."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PROGRAM = """
import os, signal, sys, time
address, processes, me = sys.argv[-1].removeprefix("--distributed=").split(",")
what = sys.argv[1].split(",")[int(me)]

def say(*words):  # in one write, so that lines of several processes stay whole
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

if what == "print":
    say(address, processes, me, os.environ.get("XLA_FLAGS"), sys.argv[1:-1])
    print("first\\nsecond of", me, file=sys.stderr)
elif what == "save":
    def save(caught, frame):
        time.sleep(0.3 * int(me))
        say("saved", me, signal.Signals(caught).name)
        sys.exit(75)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, save)
    say("ready")
    time.sleep(60)
elif what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(os.environ["MARK"] + ".part", "w") as mark:
        mark.write(str(os.getpid()))
    os.rename(os.environ["MARK"] + ".part", os.environ["MARK"])
    time.sleep(60)
elif what.startswith("after"):  # fails once the other one no longer listens to SIGTERM
    while not os.path.exists(os.environ["MARK"]):
        time.sleep(0.01)
    sys.exit(int(what.removeprefix("after")))
elif what == "wait":
    time.sleep(60)
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
else:
    sys.exit(int(what))
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    started = []

    def popen(each, *flags, **environment):
        command = [sys.executable, "-m", "launch.local_processes", f"--program={tmp_path}/program.py", *flags]
        environment = {**os.environ, "MARK": str(tmp_path / "mark"), **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*command, "--", each, "--config=a b"], cwd=ROOT, env=environment, **pipes))
        return started[-1]

    yield popen
    for process in started:
        process.terminate()  # it ends its own processes
        process.communicate()


def test_each_process_gets_the_arguments_and_one_address(start):
    process = start("print,print,print", "--processes=3", "--devices=4", XLA_FLAGS="--xla_cpu_enable_fast_math=false")
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    lines = sorted(stdout.splitlines(), key=lambda line: line.split()[2])
    assert [line.split()[1:3] for line in lines] == [["3", "0"], ["3", "1"], ["3", "2"]]
    assert len({line.split()[0] for line in lines}) == 1
    flags = "--xla_cpu_enable_fast_math=false --xla_force_host_platform_device_count=4"
    assert all(line.endswith(f"{flags} ['print,print,print', '--config=a b']") for line in lines)
    assert sorted(stderr.splitlines()) == [
        *("1: first", "1: second of 1", "2: first", "2: second of 2", "first", "second of 0"),
    ]


def test_devices_0_leaves_xla_flags_as_they_are(start):
    stdout, _ = start("print", "--processes=1", XLA_FLAGS="--mine").communicate(timeout=20)
    assert "--mine ['print'" in stdout


@pytest.mark.parametrize(
    ("each", "code"), [("0,0", 0), ("wait,3", 3), ("3,wait", 3), ("75,75", 75), ("wait,killed", 128 + 9)]
)
def test_one_failing_process_ends_the_others_and_its_code_is_returned(start, each, code):
    assert start(each).wait(timeout=20) == code


def test_a_process_that_ignores_sigterm_is_killed(start, tmp_path):
    assert start("deaf,after5", "--grace_s=0.2").wait(timeout=20) == 5
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "mark").read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_all_and_all_may_save(start, number):
    """Process 1 saves later than process 0 ends: it is given the time, and is not signalled twice."""
    process = start("save,save")
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 75
    assert stdout.splitlines() == [f"saved 0 {number.name}", f"saved 1 {number.name}"]


def test_a_preempted_process_does_not_wait_for_ever(start):
    assert start("75,wait", "--grace_s=0.2").wait(timeout=20) == 75


def test_distributed_may_not_be_given(start):
    process = start("print", "--", "--distributed=off")
    assert process.wait(timeout=20) == 1
    assert process.stderr.read().startswith("error: --distributed is what this program sets")
