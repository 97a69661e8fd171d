"""Transitions on the device, and batches drawn from them inside the compiled step."""

import dataclasses
from typing import Any

import jax
import numpy as np

from spin_jax.data.stream import TransitionStream
from spin_jax.types import Normaliser, Transition, normalise


def on_device(transitions: Transition | TransitionStream, normaliser: Normaliser) -> Transition | TransitionStream:
    """Transitions as device arrays with normalised observations; a stream normalises its batches as it reads them."""
    # the host normalises, because on the device the intermediate results would take memory
    normaliser = jax.tree.map(np.asarray, normaliser)
    if isinstance(transitions, TransitionStream):
        return dataclasses.replace(transitions, normaliser=normaliser)
    return jax.device_put(
        transitions._replace(
            observation=normalise(normaliser, transitions.observation).astype(np.float32),
            next_observation=normalise(normaliser, transitions.next_observation).astype(np.float32),
        )
    )


def sample_batch(key: jax.Array, data: Any, batch_size: int) -> Any:
    """`batch_size` rows of a tree of arrays [T, …], drawn uniformly with replacement."""
    rows = len(jax.tree.leaves(data)[0])
    index = jax.random.randint(key, (batch_size,), 0, rows)
    return jax.tree.map(lambda leaf: leaf[index], data)
