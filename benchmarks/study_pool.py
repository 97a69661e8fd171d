"""Runs processes, as many at once as there are workers, each worker on cores of its own."""

import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from benchmarks.study_jobs import ROOT, Job

GRACE = 120  # seconds that stopped processes have to save what they are at


class Pool:
    """Runs jobs, each after those that it needs; a job that fails takes those that need it along, and no other.

    done(job, peak_mb) is called for each that ends well, one call at a time. failed: {name: why}.
    """

    def __init__(self, jobs: Sequence[Job], done: Callable[[Job, float], None]):
        self._waiting, self._done = list(jobs), done
        self._changed = threading.Condition()
        self._unfinished = {job.name for job in jobs}
        self._children: set[int] = set()
        self._stopping = False
        self._errors: list[Exception] = []
        self.failed: dict[str, str] = {}

    def run(self, workers: int) -> None:
        """Runs all jobs; at an exception, such as Ctrl-C, the processes are asked to stop, and are waited for."""
        threads = [threading.Thread(target=self._work, args=(cores,)) for cores in shares(workers)]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) and not self._errors:
                time.sleep(0.1)  # the main thread hears signals
        finally:
            self._stop()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, cores: set[int]):
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # of this thread and of the processes that it starts
        while (job := self._next()) is not None:
            reason, peak_mb = "", 0.0
            try:
                reason, peak_mb = self._execute(job)
            except OSError as error:
                reason = str(error)
            with self._changed:
                try:
                    if not reason:
                        self._done(job, peak_mb)
                    elif not self._stopping:
                        self.failed[job.name] = reason
                except Exception as error:  # to be raised where it is seen
                    self._errors.append(error)
                    self._stopping = True
                self._unfinished.discard(job.name)
                self._changed.notify_all()

    def _next(self) -> Job | None:
        """The next job whose needs are met, waited for; None if there is none left."""
        with self._changed:
            while not self._stopping:
                while doomed := [job for job in self._waiting if set(job.needs) & self.failed.keys()]:
                    for job in doomed:  # and, in the next round, what needs these
                        self._waiting.remove(job)
                        self._unfinished.discard(job.name)
                        self.failed[job.name] = f"needs {', '.join(set(job.needs) & self.failed.keys())}"
                ready = next((job for job in self._waiting if not set(job.needs) & self._unfinished), None)
                if ready is not None:
                    self._waiting.remove(ready)
                    return ready
                if not self._waiting:
                    return None
                self._changed.wait()
            return None

    def _execute(self, job: Job) -> tuple[str, float]:
        """(why it failed or "", the most memory of its process in MB)."""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("wb") as log:
            with self._changed:
                if self._stopping:
                    return "stopped", 0.0
                child = subprocess.Popen(job.command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
                self._children.add(child.pid)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie: nobody else gets its number
            with self._changed:
                self._children.discard(child.pid)
                _, status, usage = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        return f"exit code {code}: {_last_line(job.log)}" if code else "", usage.ru_maxrss / 1024

    def _stop(self):
        """Asks the processes that still run to stop, and kills those that do not."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = time.monotonic() + GRACE
        self._signal(signal.SIGTERM)
        while self._children and time.monotonic() < until:
            time.sleep(0.1)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals):
        with self._changed:
            for pid in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def shares(workers: int) -> list[set[int]]:
    """The usable cores in `workers` equal parts; with more workers than cores, they share all."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if workers > len(cores):
        return [set(cores) for _ in range(workers)]
    parts: dict[int, set[int]] = collections.defaultdict(set)
    for i, core in enumerate(cores):
        parts[i * workers // len(cores)].add(core)
    return list(parts.values())


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
