"""Transitions on the device, and batches drawn from them inside the compiled step."""

from typing import Any

import jax
import numpy as np

from spin_jax.types import Normaliser, Transition, normalise


def on_device(transitions: Transition, normaliser: Normaliser) -> Transition:
    """Transitions as device arrays, observations normalised once and for all."""
    return jax.device_put(
        transitions._replace(
            observation=normalise(normaliser, transitions.observation).astype(np.float32),
            next_observation=normalise(normaliser, transitions.next_observation).astype(np.float32),
        )
    )


def sample_batch(key: jax.Array, data: Any, batch_size: int) -> Any:
    """`batch_size` rows of a tree of arrays [T, …], uniformly with replacement."""
    rows = len(jax.tree.leaves(data)[0])
    index = jax.random.randint(key, (batch_size,), 0, rows)
    return jax.tree.map(lambda leaf: leaf[index], data)
