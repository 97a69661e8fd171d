"""Several processes that run one program: who writes, what all of them must agree on, and how all of them end.

Process 0 writes the data set and the workdir, evaluates and reports. Whatever follows from a file is read by process 0
and told to the others, so that all take the same way. With one process every function here is trivial.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from spin_jax.command import RESUMES, Terminated
from spin_jax.errors import ConfigError, UserError

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}  # 75, EX_TEMPFAIL: the same command, run again, goes on
HEARTBEAT_SECONDS = 30  # without a sign of life from a process for so long, the others end
WAIT_MS = 7 * 24 * 3600 * 1000  # process 0 may take days to make a log
FAILED = "spin_jax/failed"
_numbers = itertools.count()
_chunks = itertools.count(1)
_stopped_by: list[signal.Signals] = []  # the signals that `stoppable` got
_failing = threading.Event()


class Preempted(Terminated):
    """SIGTERM or Ctrl-C came, and the state is saved; main.py exits with `code`."""

    def __init__(self, message: str, number: signal.Signals = signal.SIGTERM):
        super().__init__(message)
        self.code = CODES[number]


def initialise(distributed: str) -> None:
    """Joins the other processes, before any other use of JAX.

    distributed: 'off' = this process alone; 'auto' = as the cluster says (Cloud TPU, Slurm, GKE, Open MPI);
    'host:port,n,i' = the address of process 0, the number of processes, the number of this one. Raises ConfigError on
    anything else.
    """
    if distributed == "off":
        return
    options: dict[str, Any] = {"heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
    if distributed != "auto":
        try:
            address, number, index = distributed.split(",")
            options |= {"coordinator_address": address, "num_processes": int(number), "process_id": int(index)}
        except ValueError:
            raise ConfigError(f"--distributed must be auto, off or host:port,n,i, got {distributed!r}.") from None
    jax.distributed.initialize(**options)
    threading.Thread(target=_end_with_the_others, daemon=True).start()


def _client() -> Any:
    """JAX's client of the service that process 0 runs; None with one process. It has no public name."""
    from jax._src import distributed

    return distributed.global_state.client if jax.process_count() > 1 else None


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def first(call: Callable[[], Any], what: str = "") -> Any:
    """The JSON-able result of `call`, which process 0 alone runs; a UserError is raised in every process.

    All processes call this in the same order. what: said by those that wait, while process 0 does something long.
    """
    client = _client()
    if client is None:
        return call()
    name = f"spin_jax/first/{next(_numbers)}"
    if not is_first():
        if what:
            print(f"process {jax.process_index()}: waits while process 0 {what}", file=sys.stderr, flush=True)
        told = json.loads(client.blocking_key_value_get(name, WAIT_MS))
        if "error" in told:
            raise UserError(told["error"])
        return told["value"]
    try:
        value = call()
    except UserError as error:
        client.key_value_set(name, json.dumps({"error": str(error)}))
        raise
    client.key_value_set(name, json.dumps({"value": value}))
    return value


def fail(error: str) -> None:
    """With several processes: tells the others that this one ends, and why, and ends; they end too."""
    client = _client()
    if client is None:
        return
    print(error, file=sys.stderr, flush=True)
    _failing.set()
    with contextlib.suppress(Exception):  # the service may be gone already
        client.key_value_set(FAILED, f"process {jax.process_index()} ended: {error}", allow_overwrite=True)
        time.sleep(5)  # process 0 takes the message with it when it ends
    os._exit(1)  # the usual way out waits for the others


def _end_with_the_others() -> None:
    client = _client()
    while client is not None:
        time.sleep(1)
        with contextlib.suppress(Exception):
            error = client.key_value_try_get(FAILED)
            if _failing.is_set():  # it is this one's own: `fail` waits until the others have read it
                return
            print(error, file=sys.stderr, flush=True)
            os._exit(1)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """While inside, SIGTERM raises Preempted, except where `stoppable` waits for the end of a chunk.

    With several processes, JAX's preemption service takes the signal, and the run ends with the next chunk of steps.
    """
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise Preempted(f"SIGTERM. {RESUMES}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While inside, `asked_to_stop` tells of SIGTERM and Ctrl-C; a second one of the same kind ends the process."""
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield  # JAX's preemption service takes the signal
        return

    def stop(number, frame):
        signal.signal(number, before[number])
        _stopped_by.append(signal.Signals(number))
        if number == signal.SIGINT:
            os.write(2, b"\nCtrl-C: stops when the running steps are done and saved; once more to stop now.\n")

    before = {number: signal.getsignal(number) for number in NAMES}
    caught = [number for number, handler in before.items() if handler != signal.SIG_IGN]  # as nohup asks for
    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    finally:
        _stopped_by.clear()
        for number in caught:
            signal.signal(number, before[number])


def asked_to_stop() -> signal.Signals | None:
    """The signal that a process got; the same answer in every process, as all ask after the same chunks."""
    if jax.process_count() > 1:
        # the service fires only if the number grows by one from call to call, also from stage to stage
        return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(next(_chunks)) else None
    return _stopped_by[0] if _stopped_by else None
