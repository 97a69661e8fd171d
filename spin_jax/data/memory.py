"""Whether a log fits in memory: the size of its transitions as arrays, and the memory that is free."""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from spin_jax.errors import DataError
from spin_jax.types import Episode

# Peak memory of loading and of the transfer to the device, as a multiple of the transitions' size: episodes, arrays,
# normalised arrays and the device's copy exist together. Measured as resident memory of the process on CPU: 3.29
# (dog-trot), 3.11 (cheetah-run).
HOST_COPIES = 3.3
SAMPLE = 10  # episodes read for an estimate


def row_bytes(episode: Episode) -> int:
    """Bytes of one transition in arrays: float32 s, s', reward and discount, int32 action."""
    return 2 * episode.observation[0].nbytes + episode.action[0].nbytes + 8


def sample_of(episodes: Sequence[Episode]) -> list[Episode]:
    """SAMPLE episodes, or all if there are fewer, that are spread evenly over the log."""
    return [episodes[int(i)] for i in np.linspace(0, len(episodes) - 1, min(SAMPLE, len(episodes)))]


def resident_bytes(episodes: Sequence[Episode]) -> int:
    """Bytes of all transitions in arrays, estimated from SAMPLE episodes that are spread evenly over the log."""
    return int(len(episodes) * np.mean([len(e.reward) * row_bytes(e) for e in sample_of(episodes)]))


def free_memory() -> dict[str, int]:
    """Bytes that are free now on the 'host' (MemAvailable) and, if JAX runs on one, on the 'accelerator'.

    A figure that the system does not report is left out. The memory limit of a container is not taken into account.
    """
    free, device, meminfo = {}, jax.local_devices()[0], pathlib.Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free["host"] = int(lines["MemAvailable"].split()[0]) * 1024
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        free["accelerator"] = stats["bytes_limit"] - stats["bytes_in_use"]
    return free


def check_fits(episodes: Sequence[Episode], where: str, devices: int = 1) -> None:
    """Raise DataError, which names both sizes, if the log's arrays would not fit on the host or the accelerator.

    devices: among which the rows may be divided.
    """
    size = resident_bytes(episodes)
    need = {"host": HOST_COPIES * size, "accelerator": size / devices}
    for place, free in free_memory().items():
        if need[place] > free:
            raise DataError(
                f"{where}: its transitions take {size / 1e9:.1f} GB, and reading them into memory takes "
                f"{need[place] / 1e9:.1f} GB of the {place}, where {free / 1e9:.1f} GB are free. Read them from disk "
                f"while training: --config.data.mode=stream."
            )
