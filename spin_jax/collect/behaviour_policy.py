"""The shipped behaviour policies: float16 weights with a JSON card, played with numpy only."""

import pathlib

import numpy as np

from spin_jax.collect.behaviour import Act, Behaviour, explore, uniform
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.errors import DataError
from spin_jax.models.decqn import greedy
from spin_jax.record.files import NUMBER, Fields, read_json, replacing, write_json
from spin_jax.types import Normaliser, normalise

WEIGHTS = pathlib.Path(__file__).parent / "weights"
FIELDS: Fields = {"task": str, "bins": int, "level": str, "frames": int, "return_mean": NUMBER, "return_std": NUMBER}


def weights_path(task: str, bins: int, level: str) -> pathlib.Path:
    """The file of a policy's weights; its card has the suffix .json."""
    return WEIGHTS / f"{task}_{bins}bins_{level}.npz"


def policy_card(task: str, bins: int, level: str) -> dict:
    """The name of a level's policy and the mean return of its own 20 greedy episodes (no return for 'random')."""
    path = weights_path(task, bins, level).with_suffix(".json")
    if level == "random":
        return {"policy": "random: uniform over joint actions"}
    return {"policy": path.stem, "policy_return_mean": read_card(path)["return_mean"]}


def read_card(path: pathlib.Path) -> dict:
    """The card of a policy; raises DataError if it is damaged."""
    return read_json(path, DataError, "Install the package anew, or ship the policy again.", FIELDS)


def save_policy(path: pathlib.Path, critics: list, normaliser: Normaliser, card: dict) -> None:
    """Writes weights as float16 (statistics as float32) and the card beside them."""
    arrays = {"mean": normaliser.mean, "std": normaliser.std, "clip": normaliser.clip}
    for i, critic in enumerate(critics):
        for layer, parameters in critic.items():
            for name, value in parameters.items():
                arrays[f"{i}/{layer}/{name}"] = np.asarray(value, np.float16)
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)
    write_json(path.with_suffix(".json"), card)


def load_policy(path: pathlib.Path, num_slots: int) -> Act:
    """act(observation [B, S]) -> greedy joint actions [B, N]."""
    with np.load(path, allow_pickle=False) as arrays:
        normaliser = Normaliser(*(arrays[name] for name in Normaliser._fields))
        critics: list[dict] = []
        for key in arrays.files:
            if "/" in key:
                i, layer, name = key.split("/")
                critics += [{} for _ in range(int(i) + 1 - len(critics))]
                critics[int(i)].setdefault(layer, {})[name] = arrays[key].astype(np.float32)
    return lambda observation: greedy(critics, normalise(normaliser, observation), num_slots)


def behaviour_policy(task: str, bins: int, level: str, epsilon: float, rng: np.random.Generator) -> Act:
    """The policy of a level; each sub-action is replaced by a uniform choice with probability epsilon.

    'random' is uniform over joint actions. Raises DataError if no weights are shipped.
    """
    num_slots = DM_CONTROL[task].num_slots
    if level == "random":
        return uniform(rng, bins, num_slots)
    path = weights_path(task, bins, level)
    if not path.exists():
        raise DataError(
            f"No {level} behaviour policy for {task} with {bins} bins is shipped ({path.name}). Train one: "
            f"python -m spin_jax.collect.train_behaviour --task={task} --bins={bins} --workdir=DIR"
        )
    return explore(load_policy(path, num_slots), epsilon, rng, bins)


SHIPPED = Behaviour(behaviour_policy, policy_card)
