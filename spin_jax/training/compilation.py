"""Keeps compiled programs on disk: the second start of a configuration compiles nothing."""

import hashlib
import os
import pathlib
import platform
import time
import zlib

import jax

SECONDS = 0.3  # programs that compile faster are not kept
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # how a program begins that JAX packed so, where zstandard is installed


def cache_directory() -> pathlib.Path:
    """The folder of compiled programs in the user's cache, one for each kind of processor."""
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    # a home directory may be shared by machines, and a program for one processor can be illegal on another
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
    return root / "spin_jax" / f"compiled-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def keep_compilations() -> None:
    """Turns on JAX's persistent compilation cache, unless JAX_COMPILATION_CACHE_DIR already sets its place.

    Programs in it that a killed process left half-written are removed.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # made when jax is imported
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    remove_damaged(pathlib.Path(jax.config.jax_compilation_cache_dir))  # type: ignore[attr-defined]


def remove_damaged(directory: pathlib.Path) -> None:
    """Removes programs that are cut off; JAX would compile them anew in every run, with a warning, and keep the file.

    Each program is looked at once: the time of the file `checked` says up to when they were.
    """
    checked, begin = directory / "checked", time.time()
    try:
        since = checked.stat().st_mtime if checked.exists() else 0
        for path in directory.glob("*-cache"):
            if path.stat().st_mtime >= since and not _is_whole(path.read_bytes()):
                path.unlink(missing_ok=True)
        if directory.is_dir():
            checked.touch()
            os.utime(checked, (begin, begin))
    except OSError:  # another process removes them, too, or the folder may only be read
        pass


def _is_whole(program):
    if program.startswith(ZSTANDARD):
        return True  # not looked into
    try:
        zlib.decompress(program)
    except zlib.error:
        return False
    return True
