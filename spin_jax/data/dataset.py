"""Loads a log in one pass: checks it, computes its fingerprint, and separates held-out episodes from training ones."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from spin_jax.data.memory import check_fits
from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.statistics import RunningStatistics
from spin_jax.data.stream import TransitionStream
from spin_jax.data.transitions import transitions
from spin_jax.errors import DataError
from spin_jax.types import ActionSpec, Episode, Normaliser, Transition, identity_normaliser

LEVELS = {
    "random": "random",
    "medium": "medium",
    "expert": "expert",
    "medium-expert": "medium+expert",
    "random-medium-expert": "random[:67]+medium[:67]+expert[:66]",  # 200k transitions, as the published suite's
}
HOLD_OUT_EVERY = 20  # one episode in 20 is kept from training, for the ASM's held-out metrics
STREAM_HELD_OUT = 50  # the most held-out episodes that stream mode keeps in memory


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A log as load_dataset reads it: transitions to train on, held-out transitions, and facts about both."""

    spec: ActionSpec
    train: Transition | TransitionStream  # numpy arrays [T, …], or a stream that reads batches from disk
    held_out: Transition
    normaliser: Normaliser
    fingerprint: str  # SHA-256 of every array that was read
    returns: np.ndarray  # [training episodes] undiscounted returns

    @property
    def num_transitions(self) -> int:
        """T, the number of transitions to train on."""
        return len(self.train.reward) if isinstance(self.train, Transition) else self.train.num_transitions

    @property
    def num_features(self) -> int:
        """S, the width of an observation."""
        return self.held_out.observation.shape[1]

    @property
    def blank(self) -> np.ndarray:
        """An observation [1, S] of zeros, for functions that need only its shape."""
        return np.zeros((1, self.num_features), np.float32)


def split_expression(level: str, episodes: int) -> str:
    """The TFDS split expression of a level name ('medium-expert'); 'medium+expert[:50%]' is one and stays as it is.

    episodes: the number of episodes (of 1000 steps) in each stored split. The level random-medium-expert takes 67, 67
    and 66 of them, or all if there are fewer, because TFDS refuses a slice beyond the end.
    Raises DataError, which names the known levels, if `level` is neither a level nor such an expression.
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


def check_episodes(episodes: list[Episode], spec: ActionSpec, num_features: int, where: str, first: int = 0) -> None:
    """Raise DataError on wrong widths, on values that are not finite, and on choices out of range.

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
        bad = (episode.action < 0) | (episode.action >= cardinalities[None, :])
        if bad.any():
            step, slot = np.argwhere(bad)[0]
            raise DataError(
                f"{where}: action of episode {i}, step {step}, slot {slot} is {episode.action[step, slot]}; "
                f"that slot has choices 0 to {cardinalities[slot] - 1}."
            )


def fit_normaliser(statistics: RunningStatistics) -> Normaliser:
    """The normaliser of the observations in `statistics`; clip 10. Features with std below 1e-3 keep their scale."""
    std = np.where(statistics.std < 1e-3, 1.0, statistics.std)
    return Normaliser(statistics.mean.astype(np.float32), std.astype(np.float32), np.float32(10))


def load_dataset(
    directory: pathlib.Path,
    expression: str,
    spec: ActionSpec,
    num_features: int,
    normalised: bool,
    *,
    mode: str = "memory",
    block_episodes: int = 16,
    n_step: int = 1,
    gamma: float = 1.0,
    watch: Callable[[Sequence[Episode]], Iterable[Episode]] = iter,
) -> Dataset:
    """Read a split expression of a prepared data set; every HOLD_OUT_EVERY-th episode is held out.

    mode: 'memory' keeps every episode; 'stream' keeps at most STREAM_HELD_OUT held-out ones, and the others stay on
    disk. Normaliser, fingerprint and returns are the same in both modes. normalised: fit a normaliser to the training
    observations. n_step, gamma: of the transitions to train on (types.Transition); held-out ones have one step. watch:
    wraps the iteration over the episodes, for example to show progress. Raises DataError before reading if the log
    does not fit in memory (mode 'memory'), if there are fewer than 2 episodes, and as check_episodes and EpisodeSource.
    """
    where = f"{directory}, split {expression}"
    episodes = EpisodeSource(str(directory), expression)
    total = len(episodes)
    if total < 2:
        raise DataError(f"{where}: {total} episodes; at least 2 are needed, one is held out.")
    if mode == "memory":
        check_fits(episodes, where)
    held_out, kept = _held_out_and_kept(total, mode)
    digest, statistics, in_memory = hashlib.sha256(), RunningStatistics(num_features), {}
    lengths, returns = np.zeros(total, int), np.zeros(total, np.float32)
    for i, episode in enumerate(watch(episodes)):
        check_episodes([episode], spec, num_features, where, first=i)
        for part in (episode.observation, episode.action, episode.reward, np.asarray(episode.terminal)):
            digest.update(np.ascontiguousarray(part).tobytes())
        lengths[i], returns[i] = len(episode.reward), episode.reward.sum()
        if not held_out[i]:
            statistics.add(episode.observation[:-1])
        if kept[i]:
            in_memory[i] = episode
    train: Transition | TransitionStream
    if mode == "stream":
        rows = np.flatnonzero(~held_out)
        train = TransitionStream(
            episodes, rows, lengths[rows], block_episodes, identity_normaliser(num_features), n_step, gamma
        )
    else:
        train = transitions([e for i, e in in_memory.items() if not held_out[i]], n_step, gamma)
    return Dataset(
        spec=spec,
        train=train,
        held_out=transitions([e for i, e in in_memory.items() if held_out[i]]),
        normaliser=fit_normaliser(statistics) if normalised else identity_normaliser(num_features),
        fingerprint=digest.hexdigest(),
        returns=returns[~held_out],
    )


def _held_out_and_kept(total: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """(held_out, kept), each [episodes] bool: the episodes that are held out, and those that stay in memory.

    At least one episode is held out. In mode 'stream' the held-out ones in memory are spread evenly over the log.
    """
    held_out = np.arange(total) % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1
    held_out[-1] |= not held_out.any()
    kept = np.full(total, mode == "memory")
    rows = np.flatnonzero(held_out)
    kept[rows[np.linspace(0, len(rows) - 1, min(STREAM_HELD_OUT, len(rows))).astype(int)]] = True
    return held_out, kept
