"""Episodes whose numbers say where they are from."""

import numpy as np

from spin_jax.types import Episode


def make_episode(number, length=3, terminal=False):
    """Observation t is [number, t], so that every row says where it is from."""
    observation = np.stack([np.full(length + 1, number), np.arange(length + 1)], 1).astype(np.float32)
    action = np.stack([np.arange(length) % 2, np.arange(length) % 3], 1).astype(np.int32)
    return Episode(observation, action, np.full(length, number, np.float32), terminal)
