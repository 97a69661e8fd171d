"""A log as arrays: whole episodes read once into one tree of transitions, checked, fingerprinted, held-out apart."""

import dataclasses
import hashlib
import pathlib
import re

import numpy as np

from spin_jax.data.rlds import DataError, read_episodes
from spin_jax.types import ActionSpec, Episode, Normaliser, Transition, identity_normaliser

LEVELS = {
    "random": "random",
    "medium": "medium",
    "expert": "expert",
    "medium-expert": "medium+expert",
    "random-medium-expert": "random[:67]+medium[:67]+expert[:66]",  # 200k transitions, as the published suite's
}
HOLD_OUT_EVERY = 20  # one episode in so many is kept from training, for the ASM's held-out metrics


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Transitions to train on, held-out ones, and facts about what was read."""

    train: Transition  # numpy arrays [T, …]
    held_out: Transition
    normaliser: Normaliser
    fingerprint: str  # SHA-256 of every array that was read
    returns: np.ndarray  # undiscounted return of each training episode


def split_expression(level: str, episodes: int) -> str:
    """TFDS split expression of a level name ('medium-expert') or of such an expression itself ('medium+expert[:50%]').

    episodes: what each stored split has (of 1000 steps); the level random-medium-expert takes 67, 67 and 66 of them,
    or all where there are fewer (TFDS refuses a slice beyond the end).
    Raises DataError naming the known levels where a part of it is neither.
    """
    if level in LEVELS:
        return re.sub(r"\d+", lambda wanted: str(min(int(wanted[0]), episodes)), LEVELS[level])
    for part in level.split("+"):
        if part.split("[")[0].strip() not in ("random", "medium", "expert"):
            raise DataError(
                f"Unknown level {level!r}. Known levels: {', '.join(LEVELS)}; or a TFDS split expression over "
                f"random, medium and expert, such as 'medium+expert[:50%]'."
            )
    return level


def transitions(episodes: list[Episode]) -> Transition:
    """The transitions of episodes, one after another; discount is 0 only on a terminal last step."""
    if not episodes:
        raise DataError("There is no episode to make transitions of: the split is empty.")
    discounts = [np.ones(len(e.reward), np.float32) for e in episodes]
    for discount, episode in zip(discounts, episodes, strict=True):
        discount[-1] = 0.0 if episode.terminal else 1.0
    return Transition(
        np.concatenate([e.observation[:-1] for e in episodes]),
        np.concatenate([e.action for e in episodes]),
        np.concatenate([e.reward for e in episodes]),
        np.concatenate(discounts),
        np.concatenate([e.observation[1:] for e in episodes]),
    )


def check_episodes(episodes: list[Episode], spec: ActionSpec, num_features: int, where: str):
    """Raise DataError, naming the episode and the column, on NaN, wrong widths or choices out of range."""
    cardinalities = np.asarray(spec.cardinalities)
    for i, episode in enumerate(episodes):
        for name, found, need in (
            ("observation", episode.observation.shape[1], num_features),
            ("action", episode.action.shape[1], spec.num_slots),
        ):
            if found != need:
                raise DataError(f"{where}: {name} of episode {i} has width {found}, the task needs {need}.")
        bad = ~np.isfinite(episode.observation)
        if bad.any():
            step, feature = np.argwhere(bad)[0]
            raise DataError(
                f"{where}: observation of episode {i} is {episode.observation[step, feature]} at step {step}, "
                f"feature {feature}. Repair or remove that episode."
            )
        if not np.isfinite(episode.reward).all():
            step = np.argmin(np.isfinite(episode.reward))
            raise DataError(f"{where}: reward of episode {i} is {episode.reward[step]} at step {step}.")
        bad = (episode.action < 0) | (episode.action >= cardinalities[None, :])
        if bad.any():
            step, slot = np.argwhere(bad)[0]
            raise DataError(
                f"{where}: action of episode {i}, step {step}, slot {slot} is {episode.action[step, slot]}; "
                f"that slot has choices 0 to {cardinalities[slot] - 1}."
            )


def fit_normaliser(observation: np.ndarray) -> Normaliser:
    """Mean and standard deviation of observations [T, S]; features that hardly vary keep their scale."""
    std = observation.std(0, dtype=np.float64)
    mean = observation.mean(0, dtype=np.float64)
    return Normaliser(mean.astype(np.float32), np.where(std < 1e-3, 1.0, std).astype(np.float32), np.float32(10))


def load_dataset(
    directory: pathlib.Path, expression: str, spec: ActionSpec, num_features: int, normalised: bool
) -> Dataset:
    """Read a split expression of a prepared data set; every HOLD_OUT_EVERY-th episode is held out.

    Errors as the parts raise.
    """
    episodes = read_episodes(str(directory), expression)
    check_episodes(episodes, spec, num_features, f"{directory}, split {expression}")
    if len(episodes) < 2:
        raise DataError(
            f"{directory}, split {expression}: {len(episodes)} episodes; at least 2 are needed, one is held out."
        )
    held_out = episodes[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY] or episodes[-1:]
    kept = [e for e in episodes if not any(e is h for h in held_out)]
    digest = hashlib.sha256()
    for episode in episodes:
        for part in (episode.observation, episode.action, episode.reward, np.asarray(episode.terminal)):
            digest.update(np.ascontiguousarray(part).tobytes())
    train = transitions(kept)
    return Dataset(
        train,
        transitions(held_out),
        fit_normaliser(train.observation) if normalised else identity_normaliser(num_features),
        digest.hexdigest(),
        np.array([e.reward.sum() for e in kept]),
    )
