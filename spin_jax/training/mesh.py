"""The mesh ("seed", "data"): where arrays lie, so that one program runs on one device, many, or many processes.

Global semantics: learners see the whole batch, and XLA's partitioner splits it; nothing in a learner knows of the mesh.
Seeds never communicate. A batch that is split along "data" costs a few all-reduces of gradients a step.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from spin_jax.errors import ConfigError


class Layout(NamedTuple):
    """How a run lies on its devices; mesh None: on one device, where nothing is placed or split."""

    mesh: Mesh | None = None

    @property
    def groups(self) -> int:
        """Size of the axis "seed"."""
        return 1 if self.mesh is None else self.mesh.shape["seed"]

    @property
    def shards(self) -> int:
        """Size of the axis "data"."""
        return 1 if self.mesh is None else self.mesh.shape["data"]

    def sharding(self, *axes: str | None) -> NamedSharding | None:
        """The sharding of an array whose leading axes lie along these axes of the mesh."""
        return None if self.mesh is None else NamedSharding(self.mesh, P(*axes))

    def put(self, tree: Any, *axes: str | None) -> Any:
        """Arrays that are equal in every process, as global ones.

        (jax.device_put would send them all over the network to compare them.)
        """
        sharding = self.sharding(*axes)
        if sharding is None:
            return tree

        def one(x):
            if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(one(jax.random.key_data(x)))
            x = np.asarray(x)
            return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

        return jax.tree.map(one, tree)

    def put_batches(self, batches: Any) -> Any:
        """Batches [chunk, B, …], of which every process has its own rows, as global arrays split along "data"."""
        sharding = self.sharding(None, "data")
        if sharding is None:
            return jax.device_put(batches)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batches)

    def host(self, tree: Any) -> Any:
        """The tree on the host, the same in every process; with one device, the tree as it is.

        Every process calls it, in the same order.
        """
        if self.mesh is None:
            return tree
        whole = _replicate(self.sharding())(tree)
        return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), whole)

    def over_data(self, batch: Any) -> Any:
        """A batch [B, …] split along "data", inside of a compiled program."""
        sharding = self.sharding("data")
        if sharding is None:
            return batch
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, sharding), batch)


ONE_DEVICE = Layout()


@functools.cache  # a function of its own in every call would be compiled in every call
def _replicate(sharding: NamedSharding) -> Callable:
    """The compiled function that gives a tree with every array whole on every device."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def make_layout(num_seeds: int, batch_size: int, seed: int = 0, data: int = 0, devices: Any = None) -> Layout:
    """The layout over all devices: seeds first, the batch over what is left.

    seed, data: sizes of the mesh's axes; 0 = automatic. Raises ConfigError, with the numbers, where devices, seeds or
    the batch do not divide.
    """
    devices = list(jax.devices() if devices is None else devices)
    if len(devices) == 1 and max(seed, data) <= 1:
        return ONE_DEVICE
    seed = seed or (max(1, len(devices) // data) if data else math.gcd(num_seeds, len(devices)))
    data = data or max(1, len(devices) // seed)
    if seed * data != len(devices):
        raise ConfigError(
            f"config.mesh.seed={seed} times config.mesh.data={data} must be the number of devices, {len(devices)}."
        )
    for what, number, by, axis in (("seeds", num_seeds, seed, "seed"), ("rows of a batch", batch_size, data, "data")):
        if number % by:
            raise ConfigError(
                f"{number} {what} do not divide by {by}, the size of the mesh's axis {axis!r} on {len(devices)} "
                f"devices: set config.mesh.seed and config.mesh.data, or another number of {what}."
            )
    # make_mesh orders devices by how they are connected, and keeps those of one process together
    axes = (AxisType.Auto,) * 2
    return Layout(jax.make_mesh((seed, data), ("seed", "data"), axis_types=axes, devices=devices))


def map_groups(run: Callable, arguments: Any, groups: int) -> Any:
    """run(the arguments of a group's seeds) for each group along "seed"; all leaves have a leading axis of seeds."""

    def split(x):
        return x.reshape(groups, -1, *x.shape[1:])

    found = jax.vmap(run, spmd_axis_name="seed")(jax.tree.map(split, arguments))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
