"""A log that was made elsewhere, as columns: checks every row, then cuts the rows into episodes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spin_jax.errors import DataError
from spin_jax.types import Episode

TOLD = 5  # bad rows that a message describes one by one; the others are only counted


class Columns(NamedTuple):
    """The columns of R rows, in the order in which they were recorded."""

    observation: np.ndarray  # [R, S] float32
    action: np.ndarray  # [R, N] int32
    reward: np.ndarray  # [R] float32
    terminal: np.ndarray  # [R] bool: the episode terminated in this row's next observation
    timeout: np.ndarray  # [R] bool: a time limit ended it there; if both are set, terminal counts
    next_observation: np.ndarray  # [R, S] float32, or [0, S] if the log has none; a row of NaN = not known


class Problems:
    """Bad rows of one file, numbered from 0; `check()` raises one DataError for all of them."""

    def __init__(self, where: object):
        self._where, self._rows = where, dict[int, str]()

    def add(self, row: int, text: str) -> None:
        """Record a problem of a row; only the first one of each row is kept."""
        self._rows.setdefault(int(row), text)

    def add_entries(self, bad: np.ndarray, text: Callable[..., str]) -> None:
        """Record text(*index) for the first True in each row of `bad` [R, …]."""
        rows = np.flatnonzero(bad.any(tuple(range(1, bad.ndim))))
        for row in rows[:TOLD]:
            self.add(row, text(int(row), *(int(i) for i in np.argwhere(bad[row])[0])))
        for row in rows[TOLD:]:
            self.add(row, "")

    def check(self) -> None:
        if self._rows:
            rows = sorted(self._rows.items(), key=lambda item: (not item[1], item[0]))  # those with a text first
            told = "".join(f"\n  row {row} {text}" for row, text in rows[:TOLD])
            more = f"\n  and {len(rows) - TOLD} more rows" if len(rows) > TOLD else ""
            raise DataError(f"{self._where}: {len(rows)} bad rows, counted from 0; nothing was written:{told}{more}")


def check_columns(
    raw: dict[str, np.ndarray],
    where: object,
    widths: tuple[int, int] | None,
    cardinalities: tuple[int, ...] | int | None,
    every_next: bool,
) -> Columns:
    """Checks arrays of numbers of any type and makes Columns of them.

    raw: arrays by the names of Columns; next_observation may be missing. where: the beginning of messages. widths:
    (S, N), or None = as in the arrays. cardinalities: of each slot, one number for all slots, or None = any.
    every_next: a row of NaN in next_observation is an error. Raises DataError, which names the bad rows, columns and
    values.
    """
    rows = raw["reward"].size
    for name, values in raw.items():
        if values.dtype.kind not in "biuf":
            raise DataError(f"{where}: {name} holds values of type {values.dtype}; only numbers can be imported.")
        wide = name in ("observation", "action", "next_observation")
        if values.ndim != 1 + wide or len(values) != rows:
            need = f"[{rows}, width]" if wide else f"[{rows}]"
            raise DataError(f"{where}: {name} has shape {list(values.shape)}, needed {need}.")
    if not rows:
        raise DataError(f"{where} has no rows.")
    num_features, num_slots = widths or (raw["observation"].shape[1], raw["action"].shape[1])
    for name, width in (("observation", num_features), ("next_observation", num_features), ("action", num_slots)):
        if name in raw and raw[name].shape[1] != width:
            raise DataError(f"{where}: {name} has width {raw[name].shape[1]}, needed {width}.")
    if isinstance(cardinalities, tuple) and len(cardinalities) != num_slots:
        raise DataError(f"{where}: action has width {num_slots}, but {len(cardinalities)} cardinalities were given.")
    problems = Problems(where)
    observation, action = _float32(raw["observation"]), raw["action"]
    following = _float32(raw.get("next_observation", np.zeros((0, num_features))))
    for name, values in (("observation", observation), ("next_observation", following)):
        bad = ~np.isfinite(values)
        if name == "next_observation" and not every_next:
            bad &= ~np.isnan(values).all(1)[:, None]
        problems.add_entries(bad, lambda r, c, n=name, v=values: f"has {n} {v[r, c]} in column {c}")
    problems.add_entries(~np.isfinite(_float32(raw["reward"])), lambda r: f"has reward {raw['reward'][r]}")
    for name in ("terminal", "timeout"):
        odd = (raw[name] != 0) & (raw[name] != 1)
        problems.add_entries(odd, lambda r, n=name: f"has {n} {raw[n][r]}, neither 0 nor 1")
    high = np.broadcast_to(np.iinfo(np.int32).max if cardinalities is None else cardinalities, (num_slots,))
    bad = ~((action >= 0) & (action < high[None, :]) & (action == np.floor(action)))  # true for NaN as well

    def out_of_range(row, slot):
        choices = f"whole numbers from 0 to {high[slot] - 1}"
        return f"has action {action[row, slot]} in slot {slot}; that slot has {choices}"

    problems.add_entries(bad, out_of_range)
    problems.check()
    terminal, timeout = (raw[name].astype(bool) for name in ("terminal", "timeout"))
    return Columns(observation, action.astype(np.int32), _float32(raw["reward"]), terminal, timeout, following)


def cut_episodes(columns: Columns) -> tuple[list[Episode], dict[str, int]]:
    """The episodes of a log, and a count of each way in which they ended.

    An episode ends at terminal, at timeout, at a row with a known next_observation that is not the following row's
    observation, and at the end of the file (the last two count as time limits). Its last observation is the last row's
    next_observation. If that is not known, a terminated episode repeats the last row's observation (the discount of 0
    hides it), and any other episode loses its last transition (so an episode of one row is dropped).
    """
    known = ~np.isnan(columns.next_observation).any(1) if len(columns.next_observation) else columns.terminal & False
    ended = columns.terminal | columns.timeout
    jump = np.zeros_like(ended)
    if known.any():
        jump[:-1] = known[:-1] & ~ended[:-1] & (columns.next_observation[:-1] != columns.observation[1:]).any(1)
    stops = np.flatnonzero(ended | jump | (np.arange(len(ended)) == len(ended) - 1)) + 1
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
            episodes.append(Episode(observation, columns.action[start:stop], columns.reward[start:stop], terminal))
        start = last + 1
    return episodes, {
        "terminal": int(columns.terminal.sum()),
        "timeout": int((columns.timeout & ~columns.terminal).sum()),
        "not_continuous": int(jump.sum()),
        "end_of_file": int(not ended[-1]),
        "dropped_transitions": dropped,
    }


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which the checks then report
        return values.astype(np.float32)
