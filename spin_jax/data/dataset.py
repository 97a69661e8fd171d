"""Loads a log in one pass: checks it, computes its fingerprint, and separates held-out episodes from training ones."""

import dataclasses
import hashlib
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from spin_jax.data.memory import check_fits, sample_of
from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.spaces import FILE, read_spaces
from spin_jax.data.statistics import RunningStatistics
from spin_jax.data.stream import TransitionStream
from spin_jax.data.transitions import transitions
from spin_jax.errors import DataError
from spin_jax.types import (
    ActionSpec,
    Episode,
    Normaliser,
    Spaces,
    Transition,
    identity_normaliser,
    numbered_spaces,
)

MIXTURES = {
    "medium-expert": "medium+expert",
    "random-medium-expert": "random[:67]+medium[:67]+expert[:66]",  # 200k transitions, as the published suite's
}
LEAST_STD = 1e-3  # a feature that varies less is not scaled: one that is nearly constant would be noise then
PROBED = 50  # episodes of the probe where nothing is held out, and the most of a stream's that are in memory …
PROBED_ROWS = 10_000  # … or as many more as have about this number of rows


class LogFacts(Protocol):
    """What a policy and its ASM must know of the log that they were trained on."""

    @property
    def spec(self) -> ActionSpec: ...
    @property
    def num_features(self) -> int: ...
    @property
    def normaliser(self) -> Normaliser: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def blank(self) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A log as load_dataset reads it: transitions to train on, a probe to measure the ASM on, and facts about both."""

    spec: ActionSpec
    train: Transition | TransitionStream  # numpy arrays [T, …], or a stream that reads batches from disk
    probe: Transition
    probe_name: str  # 'held_out', or 'trained_on' if nothing is held out
    normaliser: Normaliser
    fingerprint: str  # SHA-256 of every array that was read
    returns: np.ndarray  # [training episodes] undiscounted returns
    lengths: np.ndarray  # [training episodes] steps
    probe_lengths: np.ndarray  # [episodes of the probe] steps
    probe_propensity: np.ndarray | None  # [rows of the probe] probability of the logged joint action, if the log says
    spaces: Spaces  # names of features, slots and choices; numbers if the log has no names

    @property
    def num_transitions(self) -> int:
        """T, the number of transitions to train on."""
        return len(self.train.reward) if isinstance(self.train, Transition) else self.train.num_transitions

    @property
    def num_features(self) -> int:
        """S, the width of an observation."""
        return self.probe.observation.shape[1]

    @property
    def blank(self) -> np.ndarray:
        """An observation [1, S] of zeros, for functions that need only its shape."""
        return np.zeros((1, self.num_features), np.float32)


def split_expression(level: str, episodes: int, splits: Sequence[str]) -> str:
    """The TFDS split expression of a level name ('medium-expert'); 'medium+expert[:50%]' is one and stays as it is.

    episodes: the number of episodes in each stored split. splits: their names (envs.tasks.Task.levels). The level
    random-medium-expert takes 67, 67 and 66 episodes, or all if there are fewer, because TFDS refuses a slice beyond
    the end. Raises DataError, which names the known levels, if `level` is neither a level nor such an expression.
    """
    mixtures = {name: text for name, text in MIXTURES.items() if set(_splits_of(text)) <= set(splits)}
    if level in mixtures:
        return re.sub(r"\d+", lambda wanted: str(min(int(wanted[0]), episodes)), mixtures[level])
    if not set(_splits_of(level)) <= set(splits):
        raise DataError(
            f"Unknown level {level!r}. Known levels: {', '.join((*splits, *mixtures))}; or a TFDS split expression "
            f"over {', '.join(splits[:-1])} and {splits[-1]}, such as '{splits[-2]}+{splits[-1]}[:50%]'."
        )
    return level


def _splits_of(expression: str) -> list[str]:
    """The splits that a TFDS split expression reads."""
    return [part.split("[")[0].strip() for part in expression.split("+")]


def check_episodes(episodes: list[Episode], spec: ActionSpec, num_features: int, where: str, first: int = 0) -> None:
    """Raise DataError on wrong widths, values that are not finite, choices and propensities out of range.

    The message names the episode (counted from `first`) and the column; `where` is its beginning.
    """
    cardinalities = np.asarray(spec.cardinalities)
    for i, episode in enumerate(episodes, first):
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
        if episode.propensity is not None:
            bad = ~((episode.propensity > 0) & (episode.propensity <= 1))
            if bad.any():
                step = np.argmax(bad)
                raise DataError(
                    f"{where}: propensity of episode {i} is {episode.propensity[step]} at step {step}; it must lie in "
                    f"(0, 1]."
                )
        bad = (episode.action < 0) | (episode.action >= cardinalities[None, :])
        if bad.any():
            step, slot = np.argwhere(bad)[0]
            raise DataError(
                f"{where}: action of episode {i}, step {step}, slot {slot} is {episode.action[step, slot]}; "
                f"that slot has choices 0 to {cardinalities[slot] - 1}."
            )


def fit_normaliser(statistics: RunningStatistics) -> Normaliser:
    """The normaliser of the observations in `statistics`; clip 10. Below LEAST_STD a feature keeps its scale."""
    std = np.where(statistics.std < LEAST_STD, 1.0, statistics.std)
    return Normaliser(statistics.mean.astype(np.float32), std.astype(np.float32), np.float32(10))


def load_dataset(
    directory: pathlib.Path,
    expression: str,
    spec: ActionSpec,
    num_features: int,
    normalised: bool,
    *,
    held_out: float = 0.0,
    terminals: bool = True,
    mode: str = "memory",
    block_episodes: int = 16,
    n_step: int = 1,
    gamma: float = 1.0,
    devices: int = 1,
    watch: Callable[[Sequence[Episode]], Iterable[Episode]] = iter,
) -> Dataset:
    """Read a split expression of a prepared data set.

    held_out: share of the episodes, spread evenly over the log, that is not trained on but is the probe; at least one
    if it is above 0. With 0, the probe consists of episodes that are trained on. terminals: False = every episode ends
    by a time limit, whatever the log says. mode: 'memory' keeps every episode; 'stream' keeps those of the probe, and
    the others stay on disk. normalised: fit a normaliser to the training observations. n_step, gamma: of the
    transitions to train on (types.Transition); those of the probe have one step. devices: accelerators among which the
    rows may be divided. watch: wraps the iteration over the episodes. Raises DataError before reading if the log does
    not fit in memory or leaves no episode to train on, and as check_episodes and EpisodeSource.
    """
    where = f"{directory}, split {expression}"
    stored = _open(directory, expression, held_out, mode, where, devices)
    kept_out, probe, in_memory = _choose_episodes(len(stored), held_out, mode, _probed(stored))
    digest, statistics, episodes = hashlib.sha256(), RunningStatistics(num_features), {}
    lengths, returns = np.zeros(len(stored), int), np.zeros(len(stored), np.float32)
    for i, episode in enumerate(watch(stored)):
        check_episodes([episode], spec, num_features, where, first=i)
        for part in episode[:4]:  # as before propensities, so that ASMs of older versions still know their log
            digest.update(np.ascontiguousarray(part).tobytes())
        lengths[i], returns[i] = len(episode.reward), episode.reward.sum()
        if not kept_out[i]:
            statistics.add(episode.observation[:-1])
        if in_memory[i]:
            episodes[i] = episode if terminals else episode._replace(terminal=False)
    rows, kept = np.flatnonzero(~kept_out), [e for i, e in episodes.items() if not kept_out[i]]
    train: Transition | TransitionStream = (
        _streamed(stored, terminals, rows, lengths[rows], num_features, block_episodes, n_step, gamma)
        if mode == "stream"
        else transitions(kept, n_step, gamma)
    )
    probes = [e for i, e in episodes.items() if probe[i]]
    return Dataset(
        spec,
        train,
        probe=transitions(probes),
        probe_name="held_out" if held_out else "trained_on",
        normaliser=fit_normaliser(statistics) if normalised else identity_normaliser(num_features),
        fingerprint=digest.hexdigest(),
        returns=returns[~kept_out],
        lengths=lengths[~kept_out],
        probe_lengths=lengths[probe],
        probe_propensity=_propensity(probes),
        spaces=_spaces(pathlib.Path(directory), spec, num_features),
    )


def _open(
    directory: pathlib.Path, expression: str, held_out: float, mode: str, where: str, devices: int
) -> EpisodeSource:
    """The stored episodes; raises DataError if they are too few, or too many for the memory."""
    stored = EpisodeSource(str(directory), expression)
    if len(stored) < (2 if held_out else 1):
        raise DataError(f"{where}: {len(stored)} episodes; data.held_out={held_out} needs at least 2, one is held out.")
    if mode == "memory":
        check_fits(stored, where, devices)
    return stored


def _streamed(
    stored: EpisodeSource,
    terminals: bool,
    rows: np.ndarray,
    lengths: np.ndarray,
    num_features: int,
    block_episodes: int,
    n_step: int,
    gamma: float,
) -> TransitionStream:
    """The episodes `rows`, of these lengths, as a stream of n-step transitions."""
    source = stored if terminals else WithoutTerminals(stored)
    return TransitionStream(source, rows, lengths, block_episodes, identity_normaliser(num_features), n_step, gamma)


def _propensity(episodes: list[Episode]) -> np.ndarray | None:
    """The propensities of all rows; None if an episode has none."""
    found = [e.propensity for e in episodes if e.propensity is not None]
    return np.concatenate(found) if len(found) == len(episodes) else None


def _spaces(directory: pathlib.Path, spec: ActionSpec, num_features: int) -> Spaces:
    """The data set's own names, or numbers; raises DataError if they name other spaces than the task's."""
    found = read_spaces(directory)
    if found is None:
        return numbered_spaces(num_features, spec)
    if (found.spec, found.num_features) != (spec, num_features):
        raise DataError(
            f"{directory / FILE} names {found.num_features} features and slots of {found.spec.cardinalities} choices, "
            f"the task has {num_features} and {spec.cardinalities}."
        )
    return found


class WithoutTerminals(Sequence):
    """The episodes of `source`, all of which end by a time limit."""

    def __init__(self, source: Sequence[Episode]):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index):
        return self._source[index]._replace(terminal=False)


def _probed(stored: Sequence[Episode]) -> int:
    """PROBED, or the larger number of episodes that have PROBED_ROWS steps if all are as long as a sample of them."""
    return max(PROBED, math.ceil(PROBED_ROWS / np.mean([len(episode.reward) for episode in sample_of(stored)])))


def _choose_episodes(total: int, held_out: float, mode: str, probed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kept_out, probe, in_memory), each [episodes] bool: not trained on; measured on; kept in memory.

    The probe consists of the episodes that are kept out or, if there is none, of at most `probed` others. In mode
    'stream' it has at most `probed` episodes. All are spread evenly over the log.
    """
    due = np.floor(np.arange(total + 1) * held_out + 1e-9)
    kept_out = due[1:] > due[:-1]
    kept_out[-1] |= held_out > 0 and not kept_out.any()
    rows = np.flatnonzero(kept_out) if held_out else np.arange(total)
    probe, in_memory = np.zeros(total, bool), np.full(total, mode == "memory")
    spread = rows[np.linspace(0, len(rows) - 1, min(probed, len(rows))).astype(int)]
    probe[rows if held_out and mode == "memory" else spread] = True
    return kept_out, probe, in_memory | probe
