"""Batches drawn from transitions inside the compiled step; the transitions may lie in shards."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.data.stream import TransitionStream
from spin_jax.types import Normaliser, Transition, normalise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ShardedRows:
    """T rows in D shards: a tree of arrays [D, n + r, …] with n = T // D.

    Shard d holds the rows d n … (d + 1) n - 1, and behind them the r = T - n D rows that do not divide, as every shard.
    """

    shards: Any
    total: int = dataclasses.field(metadata={"static": True})  # T


def shard_positions(shard: int, num_shards: int, total: int) -> np.ndarray:
    """The positions [n + r] in the log of a shard's rows."""
    n = total // num_shards
    return np.concatenate([np.arange(shard * n, (shard + 1) * n), np.arange(n * num_shards, total)])


def scaled(transitions: Transition | TransitionStream, normaliser: Normaliser) -> Transition | TransitionStream:
    """Transitions as numpy arrays with normalised observations; a stream normalises its batches as it reads them."""
    normaliser = jax.tree.map(np.asarray, normaliser)
    if isinstance(transitions, TransitionStream):
        return dataclasses.replace(transitions, normaliser=normaliser)
    return transitions._replace(
        observation=normalise(normaliser, transitions.observation).astype(np.float32),
        next_observation=normalise(normaliser, transitions.next_observation).astype(np.float32),
    )


def sample_batch(key: jax.Array, data: Any, batch_size: int) -> Any:
    """`batch_size` rows of a tree of arrays [T, …] or of ShardedRows, drawn uniformly with replacement.

    D shards give batch_size / D rows each, without communication. u is uniform in [0, T): n D of its values stand for
    the shard's own rows, D for each of them, and the others for one of the r rows that all shards have. So every row
    has the probability 1 / T in a draw of one of the shards. The batch depends on D, not on where the shards lie.
    """
    if not isinstance(data, ShardedRows):
        rows = len(jax.tree.leaves(data)[0])
        index = jax.random.randint(key, (batch_size,), 0, rows)
        return jax.tree.map(lambda leaf: leaf[index], data)
    num_shards = len(jax.tree.leaves(data.shards)[0])
    n = data.total // num_shards
    u = jax.random.randint(key, (num_shards, batch_size // num_shards), 0, data.total)
    index = jnp.where(u < n * num_shards, u % max(n, 1), u - n * num_shards + n)
    draw = jax.vmap(lambda rows, i: rows[i])
    return jax.tree.map(lambda x: draw(x, index).reshape(batch_size, *x.shape[2:]), data.shards)
