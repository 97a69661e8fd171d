"""Transitions on the device, and batches drawn from them inside the compiled step."""

import dataclasses
from typing import Any

import jax
import numpy as np

from spin_jax.data.stream import TransitionStream
from spin_jax.types import Normaliser, Transition, normalise


def on_device(transitions: Transition | TransitionStream, normaliser: Normaliser) -> Transition | TransitionStream:
    """Transitions as device arrays, observations normalised once and for all; a stream does it as it reads."""
    normaliser = jax.tree.map(np.asarray, normaliser)  # the host does it: the device would need room for the steps
    if isinstance(transitions, TransitionStream):
        return dataclasses.replace(transitions, normaliser=normaliser)
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
