"""Starts several real processes of main.py on this machine, to try a distributed run without a cluster.

    python -m launch.local_processes --processes=2 --devices=4 -- --config=configs/dog_trot.py:smoke --workdir=DIR

Everything behind `--` goes to each process. They meet at a free port of 127.0.0.1. Lines that process i > 0 writes to
its standard error begin with "i: ". SIGTERM and SIGINT are passed on to all. When one process fails, the others are
ended and its exit code is returned; 75 (preempted, everything is saved) stays 75.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

from absl import flags

from spin_jax import command
from spin_jax.errors import ConfigError


def start(command: list[str], processes: int) -> list[subprocess.Popen]:
    """Starts the processes, each in a group of its own: Ctrl-C reaches only this program, which passes it on once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    children = []
    for i in range(processes):
        mine, stderr = [*command, f"--distributed={address},{processes},{i}"], subprocess.PIPE if i else None
        children.append(subprocess.Popen(mine, stdin=subprocess.DEVNULL, stderr=stderr, process_group=0))
    return children


def copy_lines(child: subprocess.Popen, prefix: bytes) -> None:
    """Copies the child's standard error to this program's, each line with the prefix."""
    for line in child.stderr or ():
        os.write(sys.stderr.fileno(), prefix + line.rstrip(b"\n") + b"\n")


def wait(children: list[subprocess.Popen], received: list[int], grace_s: float) -> int:
    """Passes signals on until all have ended, at most grace_s seconds after one failed; returns its code or 0."""
    failed, deadline = 0, float("inf")
    while None in (codes := [child.poll() for child in children]) and time.monotonic() < deadline:
        if any(codes) and not failed:
            failed, deadline = next(filter(None, codes)), time.monotonic() + grace_s
            if failed != 75:  # preempted processes all end by themselves; partners of a failed one may wait for it
                received.append(signal.SIGTERM)
        while received:
            caught = received.pop(0)
            for child in children:
                child.send_signal(caught)
        time.sleep(0.05)
    for child in children:
        child.kill()
    codes = [child.wait() for child in children]
    return failed or next(filter(None, codes), 0)


def main(arguments: list[str]) -> int:
    if any(argument.startswith("--distributed") for argument in arguments):
        raise ConfigError("--distributed is what this program sets; leave it out.")
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: received.append(caught))
    if FLAGS.devices:
        flag = f"--xla_force_host_platform_device_count={FLAGS.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    children = start([sys.executable, FLAGS.program, *arguments], FLAGS.processes)
    copiers = [threading.Thread(target=copy_lines, args=(c, b"%d: " % i), daemon=True) for i, c in enumerate(children)]
    for copier in copiers:
        copier.start()
    code = wait(children, received, FLAGS.grace_s)
    for copier in copiers:
        copier.join(timeout=1)  # a worker of a killed process may still hold the pipe
    return code if code >= 0 else 128 - code  # -n: signal n ended it


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_integer("processes", 2, "number of processes", lower_bound=1)
    flags.DEFINE_integer("devices", 0, "CPU devices of each process; 0 = as they are", lower_bound=0)
    flags.DEFINE_float("grace_s", 20.0, "seconds that the others have to end when one has failed", lower_bound=0)
    flags.DEFINE_string("program", str(pathlib.Path(__file__).parent.parent / "main.py"), "the program to start")
    command.run(main, takes="behind --, what each process gets")
