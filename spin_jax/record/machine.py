"""The machine and software that figures were measured with: device, processor, versions, commit."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

import jax

PACKAGES = (
    "spin_jax",
    "jax",
    "flax",
    "optax",
    "orbax-checkpoint",
    "dm-control",
    "mujoco",
    "tensorflow-datasets",
    "grain",
    "numpy",
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of PACKAGES; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def processor() -> str:
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The git commit of this source tree; '' if it is not a checkout."""
    root = pathlib.Path(__file__).parents[2]
    command = ["git", "rev-parse", "HEAD", "--show-toplevel"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root).stdout.splitlines()
    except OSError:
        return ""
    whose = pathlib.Path(found[1]) if len(found) == 2 else None  # an environment may lie in a repository of others
    return found[0] if whose is not None and whose.samefile(root) else ""


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def facts() -> dict:
    """{device, processor, cores, versions, commit}, saved with every measured figure."""
    return {
        "device": str(jax.devices()[0].device_kind),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "commit": commit(),
    }
