"""Puts the rows of a log on the devices: all of them on each device, or a shard on each."""

from typing import Any

import jax
import numpy as np

from spin_jax.data.memory import free_memory
from spin_jax.data.sampler import ShardedRows, shard_positions
from spin_jax.errors import ConfigError
from spin_jax.record.processes import first
from spin_jax.training.mesh import Layout

ROOM = 0.5  # the largest share of a device's free memory that copies of the log may take; the rest is for the program


def choose_shards(data: Any, layout: Layout, batch_size: int, shards: int) -> int:
    """The number of shards for the rows of `data` (numpy arrays [T, …]); `shards`: config.data.shards, 0 = automatic.

    Automatic: 1, that is, all rows on every device, where that fits in half of the free memory; else the size of the
    mesh's axis "data". Raises ConfigError, with the numbers, if shards, batch and mesh do not divide.
    """
    if shards == 0:
        shards = 1 if layout.shards == 1 or first(lambda: _fits(data)) else layout.shards
    check_shards(layout, batch_size, shards)
    return shards


def check_shards(layout: Layout, batch_size: int, shards: int) -> None:
    """Raises ConfigError, with the numbers, if the shards do not divide among devices, or the batch among shards."""
    if shards > 1 and (shards % layout.shards or batch_size % shards):
        raise ConfigError(
            f"config.data.shards={shards} must be a multiple of {layout.shards}, the size of the mesh's axis 'data', "
            f"and divide the batch of {batch_size} rows."
        )


def _fits(data: Any) -> bool:
    """Whether every device of this process can hold all rows; devices of a CPU share the host's memory."""
    size, free = sum(leaf.nbytes for leaf in jax.tree.leaves(data)), free_memory()
    if "accelerator" in free:
        return size <= ROOM * free["accelerator"]
    return len(jax.local_devices()) * size <= ROOM * free["host"]


def place(data: Any, layout: Layout, shards: int) -> Any:
    """Numpy arrays [T, …] on the devices: whole on each of them, or, for several shards, as ShardedRows."""
    if shards == 1:
        return jax.device_put(data) if layout.mesh is None else layout.put(data)
    total = len(jax.tree.leaves(data)[0])
    positions = [shard_positions(d, shards, total) for d in range(shards)]

    def one(rows):
        def part(index):
            return np.stack([rows[positions[d]] for d in range(*index[0].indices(shards))])

        sharding = layout.sharding("data")
        if sharding is None:
            return jax.device_put(part((slice(None),)))
        return jax.make_array_from_callback((shards, len(positions[0]), *rows.shape[1:]), sharding, part)

    return ShardedRows(jax.tree.map(one, data), total)
