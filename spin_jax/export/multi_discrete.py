"""Between ActionSpec and gymnasium's MultiDiscrete, for those who have gymnasium."""

from typing import Any

import numpy as np

from spin_jax.errors import DataError
from spin_jax.types import ActionSpec


def to_multi_discrete(spec: ActionSpec) -> Any:
    """The gymnasium.spaces.MultiDiscrete of joint actions; needs the package gymnasium."""
    from gymnasium.spaces import MultiDiscrete

    return MultiDiscrete(np.array(spec.cardinalities, np.int64))


def from_multi_discrete(space: Any) -> ActionSpec:
    """The ActionSpec of a MultiDiscrete; raises DataError if it has several axes or choices that do not start at 0."""
    sizes = np.asarray(space.nvec)
    if sizes.ndim != 1 or np.any(getattr(space, "start", 0)):
        raise DataError(f"{space} is not one axis of slots with choices 0, 1, …: flatten it, and shift its choices.")
    return ActionSpec(tuple(sizes.tolist()))
