"""Keeps compiled programs on disk: the second start of a configuration compiles nothing."""

import hashlib
import os
import pathlib
import platform

import jax

SECONDS = 0.3  # programs that compile faster are not kept


def cache_directory() -> pathlib.Path:
    """The folder of compiled programs in the user's cache, one for each kind of processor."""
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    # a home directory may be shared by machines, and a program for one processor can be illegal on another
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
    return root / "spin_jax" / f"compiled-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def keep_compilations() -> None:
    """Turns on JAX's persistent compilation cache, unless JAX_COMPILATION_CACHE_DIR already sets its place."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # made when jax is imported
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
