"""spin_jax: SPIN (arXiv 2601.04441) in JAX, offline RL for combinations of discrete choices.

`load` is the way to a trained policy: `policy = spin_jax.load(WORKDIR_OR_EXPORT)`, then `policy.act(observation)`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spin_jax.export.api import TrainedPolicy, load

__version__ = "0.1.0"
__all__ = ["TrainedPolicy", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports the API when it is first used: environment workers import this package and never need JAX."""
    if name not in ("TrainedPolicy", "load"):
        raise AttributeError(f"module 'spin_jax' has no attribute {name!r}")
    from spin_jax.export import api

    return getattr(api, name)
