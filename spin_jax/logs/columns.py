"""The rows of a log as arrays: checks them, puts them in order, and cuts them into episodes."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spin_jax.errors import DataError
from spin_jax.logs.column_map import NONE, OPTION
from spin_jax.logs.problems import Problems
from spin_jax.types import Episode


class Columns(NamedTuple):
    """The columns of R rows, in the order in which they were recorded."""

    observation: np.ndarray  # [R, S] float32
    action: np.ndarray  # [R, N] int32
    reward: np.ndarray  # [R] float32
    terminal: np.ndarray  # [R] bool: the episode terminated in this row's next observation
    timeout: np.ndarray  # [R] bool: a time limit ended it there; if both are set, terminal counts
    next_observation: np.ndarray  # [R, S] float32, or [0, S] if the log has none; a row of NaN = not known
    last: np.ndarray  # [R] bool: the last row of a file or of an episode's id: nothing continues from it
    propensity: np.ndarray | None = None  # [R] float32 in (0, 1]


def check_columns(columns: Columns, features: tuple[str, ...], problems: Problems, every_next: bool) -> Columns:
    """Checks columns of numbers of any type and returns them with the types of Columns.

    features: names for messages. every_next: a row of NaN in next_observation is an error. Raises DataError, which
    names the bad rows, columns and values; also those that `problems` has already.
    """
    for name, values in (("", columns.observation), ("next ", columns.next_observation)):
        bad = ~np.isfinite(values)
        if name and not every_next:
            bad &= ~np.isnan(values).all(1)[:, None]
        hint = "every feature must be a finite number (below 3.4e38); repair those rows or leave them out"
        problems.add_entries(bad, lambda r, c, n=name, v=values: f"has {v[r, c]} in {n}{features[c]}", hint)
    reward = float32(columns.reward)
    hint = "a reward must be a finite number; give the rows without one a reward of 0 if that is what they had"
    problems.add_entries(~np.isfinite(reward), lambda r: f"has reward {columns.reward[r]}", hint)
    for name, flags in (("terminal", columns.terminal), ("timeout", columns.timeout)):
        odd = (flags != 0) & (flags != 1)
        hint = f"an end flag is 0 or 1 (or false and true); if the column is none: {OPTION}{name}={NONE}"
        problems.add_entries(odd, lambda r, n=name, f=flags: f"has {n} {f[r]}, neither 0 nor 1", hint)
    propensity = given = columns.propensity
    if propensity is not None:
        odd = ~((propensity > 0) & (propensity <= 1))  # true for NaN as well
        hint = (
            f"the probability of the action that was chosen lies in (0, 1]; no logarithm; or {OPTION}propensity={NONE}"
        )
        problems.add_entries(odd, lambda r, given=given: f"has propensity {given[r]}", hint)
        propensity = propensity.astype(np.float32)
        hint = "probabilities below 1e-45 are 0 as float32"
        problems.add_entries(~odd & (propensity == 0), lambda r, given=given: f"has propensity {given[r]}", hint)
    problems.check()
    terminal, timeout = columns.terminal.astype(bool), columns.timeout.astype(bool)
    return columns._replace(reward=reward, terminal=terminal, timeout=timeout, propensity=propensity)


def order_rows(
    episode: pa.Array, step: np.ndarray | None, ended: np.ndarray, problems: Problems
) -> tuple[np.ndarray | None, np.ndarray]:
    """(order, last): the permutation [R] of rows that makes episodes whole, None if they are; [R] bool, as in Columns.

    Episodes keep the order in which they first appear. With a `step` [R], rows are put in its order inside of each;
    without one they stay as they are. ended: [R] bool, the rows with an end flag. Raises DataError, which names the
    rows, on an episode that goes on after another one began (without a step), on two rows of one step, and on a flag
    inside of an episode.
    """
    code = pc.dictionary_encode(episode).indices.to_numpy(zero_copy_only=False)
    order = None
    if step is not None:
        order = np.lexsort((step, code))
        code, ordered = code[order], step[order]
        twice = np.flatnonzero((code[1:] == code[:-1]) & (ordered[1:] == ordered[:-1]))
        if len(twice):
            first, second = sorted(order[twice[0] : twice[0] + 2])
            raise DataError(
                f"{problems.where}: {problems.row(first)} and {problems.row(second)} are both step {step[first]} of "
                f"episode {episode[int(first)].as_py()!r} ({len(twice)} such pairs). A step may occur once in an "
                f"episode. Name columns that tell the rows apart: {OPTION}episode=…, {OPTION}step=…; or "
                f"{OPTION}step={NONE} to keep the order of the file."
            )
        if (order[1:] > order[:-1]).all():
            order = None
    last = np.append(code[1:] != code[:-1], True)
    if step is None and last.sum() > code.max() + 1:
        starts = np.append(0, np.flatnonzero(last)[:-1] + 1)
        _, first = np.unique(code[starts], return_index=True)
        again = starts[np.setdiff1d(np.arange(len(starts)), first)[0]]
        before = np.flatnonzero(code[:again] == code[again])[-1]
        raise DataError(
            f"{problems.where}: episode {episode[int(again)].as_py()!r} goes on in {problems.row(again)}, after "
            f"another one began behind {problems.row(before)}. Rows of an episode must follow each other, or a column "
            f"must order them: {OPTION}step=NAME. If {OPTION}episode is another column, name it."
        )
    inside = (ended if order is None else ended[order]) & ~last
    if inside.any():
        row = int(np.flatnonzero(inside)[0])
        here, there = (row, row + 1) if order is None else order[row : row + 2]
        raise DataError(
            f"{problems.where}: {problems.row(here)} has an end flag, but its episode {episode[int(here)].as_py()!r} "
            f"goes on in {problems.row(there)} ({inside.sum()} such rows). If the flags are right, cut episodes by "
            f"them: {OPTION}episode={NONE}; if the ids are right, leave the flags out: {OPTION}terminal={NONE}, "
            f"{OPTION}timeout={NONE}."
        )
    return order, last


def reorder(columns: Columns, order: np.ndarray | None) -> Columns:
    """The rows in another order [R]; `last` is in that order already."""
    if order is None:
        return columns
    moved = {
        name: values[order]
        for name, values in columns._asdict().items()
        if name != "last" and values is not None and len(values)
    }
    return columns._replace(**moved)


def cut_episodes(columns: Columns) -> tuple[list[Episode], dict[str, int]]:
    """The episodes of a log, and a count of each way in which they ended.

    An episode ends at terminal, at timeout, at a row with a known next_observation that is not the following row's
    observation, and at the last row of a file or id (the last two count as time limits). Its last observation is the
    last row's next_observation. If that is not known, a terminated episode repeats the last row's observation (the
    discount of 0 hides it), and any other episode loses its last transition (so an episode of one row is dropped).
    """
    known = ~np.isnan(columns.next_observation).any(1) if len(columns.next_observation) else columns.terminal & False
    ended = columns.terminal | columns.timeout
    jump = np.zeros_like(ended)
    if known.any():
        open_end = known[:-1] & ~(ended | columns.last)[:-1]
        jump[:-1] = open_end & (columns.next_observation[:-1] != columns.observation[1:]).any(1)
    stops = np.flatnonzero(ended | jump | columns.last) + 1
    episodes, dropped, start = [], 0, 0
    for stop in map(int, stops):
        last, terminal = stop - 1, bool(columns.terminal[stop - 1])
        if known[last]:
            final = columns.next_observation[last]
        else:
            final = columns.observation[last]
            if not terminal:
                dropped, stop = dropped + 1, last
        if stop > start:
            observation = np.concatenate([columns.observation[start:stop], final[None]])
            propensity = None if columns.propensity is None else columns.propensity[start:stop]
            rows = columns.action[start:stop], columns.reward[start:stop]
            episodes.append(Episode(observation, *rows, terminal, propensity))
        start = last + 1
    return episodes, {
        "terminal": int(columns.terminal.sum()),
        "timeout": int((columns.timeout & ~columns.terminal).sum()),
        "not_continuous": int(jump.sum()),
        "no_flag": int((columns.last & ~ended).sum()),
        "dropped_transitions": dropped,
    }


def float32(values: np.ndarray) -> np.ndarray:
    """The values as float32; those beyond its range become infinite, which check_columns then reports."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
