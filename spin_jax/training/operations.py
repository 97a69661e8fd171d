"""Floating-point operations of an update step, as XLA counts them."""

from typing import Any
from unittest import mock

import jax
import numpy as np

from spin_jax.data.sampler import sample_batch
from spin_jax.learners.base import Learner, state_like
from spin_jax.training.keys import stream


def xla_gflop(learner: Learner, frozen: Any, data: Any, batch_size: int) -> float:
    """XLA's count for an update of one seed, before optimisation; scans are unrolled, as XLA counts a body once.

    frozen, data (the log, [T, …]): arrays or their shapes.
    """
    scan = jax.lax.scan

    def unrolled(f, init, xs=None, length=None, **options):
        return scan(f, init, xs, length, **options | {"unroll": True})

    key, blank = stream(0, "estimate"), np.zeros((1, *data.observation.shape[1:]), np.float32)
    state = state_like(learner, frozen, blank)
    batch = jax.eval_shape(lambda data: sample_batch(key, data, batch_size), data)
    with mock.patch.object(jax.lax, "scan", unrolled):
        lowered = jax.jit(learner.update).lower(state, frozen, batch, key)
    cost = lowered.cost_analysis()
    assert cost is not None  # XLA counts on every platform that we know
    return cost["flops"] / 1e9
