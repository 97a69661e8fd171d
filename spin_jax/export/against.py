"""The policy of another run beside one's own in off-policy evaluation (`--against=WORKDIR`)."""

import functools
import pathlib

import jax

from spin_jax.data.dataset import Dataset
from spin_jax.errors import ConfigError
from spin_jax.export.trained import load_trained
from spin_jax.record.checkpoint import digest, flatten
from spin_jax.stages.off_policy import Target


def against(path: str, dataset: Dataset) -> Target:
    """The sampled policy of the workdir `path`, as a target; its log is not needed.

    Raises ConfigError if it reads or answers something else than `dataset` holds, and as `load_trained` does.
    """
    place = pathlib.Path(path).expanduser().absolute()
    trained = load_trained(place)
    theirs, ours = trained.interface.spaces, dataset.spaces
    if theirs != ours:
        raise ConfigError(
            f"--against={path}: its policy reads {theirs.num_features} features and answers slots of "
            f"{theirs.spec.cardinalities} choices; the log has {ours.num_features} and {ours.spec.cardinalities}, and "
            f"the names of choices must be equal, too, and those of features and slots, in the same order."
        )
    play, known = trained.functions()
    arrays, noise = trained.arrays, trained.greedy_noise.size

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        return play(arrays, observation, jax.random.gumbel(key, (observation.shape[0], noise)))

    name = f"{place.name}: {trained.run.policy}, step {trained.step}"
    origin, parameters = {"workdir": str(place)}, digest(flatten((arrays, trained.interface.normaliser)))
    return Target(name, act, None if known is None else functools.partial(known, arrays), origin, parameters)
