"""spin_jax: SPIN (arXiv 2601.04441) in JAX, offline RL for combinations of discrete choices.

From Python: `Dataset.from_pandas` brings a log in, `train(get_config("log:quick"), WORKDIR, log)` trains and judges a
policy, `policy = load(WORKDIR_OR_EXPORT)` loads it, `policy.act(observation)` acts.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spin_jax.export.api import TrainedPolicy, load
    from spin_jax.logs.frame import LoggedDataset as Dataset
    from spin_jax.run import get_config, train

__version__ = "0.2.0.dev0"
__all__ = ["Dataset", "TrainedPolicy", "__version__", "get_config", "load", "train"]
_PLACES = {
    "Dataset": ("logs.frame", "LoggedDataset"),  # a Dataset inside of the package is a log that was read
    "TrainedPolicy": ("export.api", "TrainedPolicy"),
    "get_config": ("run", "get_config"),
    "load": ("export.api", "load"),
    "train": ("run", "train"),
}


def __getattr__(name: str) -> Any:
    """Imports the API when it is first used: environment workers import this package and never need JAX."""
    if name not in _PLACES:
        raise AttributeError(f"module 'spin_jax' has no attribute {name!r}")
    module, place = _PLACES[name]
    return getattr(importlib.import_module(f"spin_jax.{module}"), place)
