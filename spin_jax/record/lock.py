"""One writer at a time. The operating system takes a lock back when its process ends, however it ends."""

import contextlib
import errno
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

from filelock import FileLock, Timeout

from spin_jax.errors import WorkdirError
from spin_jax.record.progress import log

LOCK = ".lock"  # in a workdir
POLL_SECONDS = 0.2
UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextlib.contextmanager
def one_writer(path: pathlib.Path, when_taken: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock file `path`, which says whose it is and is removed at the end.

    If another process holds it, calls when_taken(who), which may raise an error, and then waits. On a file system
    without locks it says so and goes on.
    """
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, poll_interval=POLL_SECONDS)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            when_taken(_owner(path))
            lock.acquire()
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        log.warning(f"{path.parent} is on a file system without locks: see to it that no other process writes there.")
    try:
        if lock.is_locked:
            _sign(path)
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)  # those that wait see that it is gone and make a new one
            lock.release()


def _sign(path: pathlib.Path):
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"process {os.getpid()} on {socket.gethostname()}")


def _owner(path: pathlib.Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip() or "another process"
    return "another process"


@contextlib.contextmanager
def waiting(path: pathlib.Path, what: str) -> Iterator[None]:
    """Holds the lock file `path`; if another process holds it, says that `what` waits for that process, and waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_writer(path, lambda who: log.info(f"{what}: waits for {who}, which makes it")):
        yield


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes this process the only one that writes to `workdir`, a directory that it may make.

    Raises WorkdirError, which names the other process, if there is one. A directory that stays empty is removed.
    """

    def refuse(who: str):
        raise WorkdirError(
            f"--workdir={workdir} is in use by {who}. Wait for its end, stop it, or use another --workdir."
        )

    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with one_writer(workdir / LOCK, refuse):
            yield
    finally:
        with contextlib.suppress(OSError):
            workdir.rmdir()
