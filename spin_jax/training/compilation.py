"""Compiled programs are kept between runs: the second start of a configuration compiles nothing."""

import hashlib
import os
import pathlib
import platform

import jax

SECONDS = 0.3  # programs that compile faster are not kept


def cache_directory() -> pathlib.Path:
    """Where programs are kept: a folder of the user's cache for this kind of processor."""
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    # a home directory may be shared by machines, and a program for one processor can be illegal on another
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
    return root / "spin_jax" / f"compiled-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def keep_compilations() -> None:
    """Turn JAX's persistent compilation cache on, unless the user chose its place (JAX_COMPILATION_CACHE_DIR)."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # made when jax is imported
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
