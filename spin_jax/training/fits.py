"""Whether a stage's state and one of its updates fit in memory, before anything is allocated or compiled."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from spin_jax.data.memory import free_memory
from spin_jax.errors import ConfigError
from spin_jax.learners.base import Learner
from spin_jax.types import Transition

ORDINARY = 1 << 27  # bytes of a batch up to which an update is not looked at: tracing one takes seconds


def check_update_fits(
    what: str,
    learner: Learner,
    state: Any,
    frozen: Any,
    widths: tuple[int, int],
    batch_size: int,
    seeds: int = 1,
    at_once: int = 1,
    encode: Callable | None = None,
) -> None:
    """Raises ConfigError, naming both sizes, if the state or the largest array of an update exceeds the free memory.

    The memory is the accelerator's or, where there is none, the host's.

    state: of one seed, arrays or their shapes. widths: (S, N) of the log. seeds: whose states a
    device holds; at_once: how many of them are trained as one batch. encode: the policy's, if it has one
    (policies.base.Policy). An update needs more than its largest array, so what passes may
    still not fit; then XLA says so when it allocates.
    """
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    noise = 0 if learner.greedy_noise is None else learner.greedy_noise.size
    largest = 4 * batch_size * (2 * widths[0] + widths[1] + noise)
    if largest > ORDINARY:
        largest = max([largest, *_sizes(_traced(learner, state, frozen, widths, batch_size, encode))])
    room = free_memory()
    held, largest = seeds * held, at_once * largest
    need, free = held + largest, room.get("accelerator", room.get("host", float("inf")))
    if need > free:
        raise ConfigError(
            f"{what}: the state takes {held / 1e9:.1f} GB and the largest array of an update of batch "
            f"{batch_size} takes {largest / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free. Take a smaller "
            f"batch_size, fewer candidates or a smaller model."
        )


def _traced(
    learner: Learner, state: Any, frozen: Any, widths: tuple[int, int], batch_size: int, encode: Callable | None
) -> Any:
    """The update of a batch as a jaxpr."""

    def rows(*shape, dtype=np.float32):
        return jax.ShapeDtypeStruct((batch_size, *shape), dtype)

    observation = rows(widths[0])
    x = None if encode is None else jax.eval_shape(encode, frozen, observation)
    batch = Transition(observation, rows(widths[1], dtype=np.int32), rows(), rows(), observation, x, x)
    return jax.make_jaxpr(learner.update)(state, frozen, batch, jax.random.key(0)).jaxpr


def _sizes(jaxpr: Any) -> Iterator[int]:
    """Bytes of every array that is computed, those of inner functions and loops included."""
    for equation in jaxpr.eqns:
        for found in (variable.aval for variable in equation.outvars):
            if hasattr(found, "shape"):
                yield found.size * getattr(found.dtype, "itemsize", 4)
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from _sizes(inner)
