"""From a table and the meaning of its columns to checked episodes, their spaces, and a page of what was understood."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spin_jax.data.dataset import LEAST_STD
from spin_jax.errors import DataError
from spin_jax.logs.arrow import described, numbers, single
from spin_jax.logs.column_map import EACH_ROW, OPTION, ColumnConfig, ColumnMap, map_columns
from spin_jax.logs.columns import Columns, check_columns, cut_episodes, order_rows, reorder
from spin_jax.logs.features import encode_features
from spin_jax.logs.page import page
from spin_jax.logs.problems import Problems
from spin_jax.logs.slots import encode_slots, read_choices
from spin_jax.logs.sources import Source
from spin_jax.types import Episode, Spaces


class Log(NamedTuple):
    """A log that was understood."""

    episodes: list[Episode]
    spaces: Spaces
    page: str  # what was understood, for people
    made_by: dict  # for the card


def read_log(source: Source, config: ColumnConfig, where: object, across_files: bool = True) -> Log:
    """The episodes of a table; across_files: an id that occurs in two files is one episode.

    Raises DataError, which names the column, the rows, and the option that mends it.
    """
    table, problems = source.table, Problems(where, source.files)
    columns = map_columns(table, config, where)
    if not table.num_rows:
        raise DataError(f"{where} has no rows.")
    _check_ends(columns, where)
    slots = encode_slots(table, columns.action, source.choices, read_choices(config.choices), problems)
    observation, following, features = encode_features(table, columns, problems)
    spaces = Spaces(features, slots.names, slots.choices)
    rows = Columns(
        observation=observation,
        action=slots.action,
        reward=numbers(table.column(columns.reward), columns.reward, problems),
        terminal=_flags(table, columns.terminal, problems),
        timeout=_flags(table, columns.timeout, problems),
        next_observation=following,
        last=np.isin(np.arange(table.num_rows), np.cumsum([rows for _, rows in source.files]) - 1),
        propensity=None
        if columns.propensity is None
        else numbers(table.column(columns.propensity), "propensity", problems),
    )
    episode, step = _order_columns(table, columns, problems)
    if episode is not None and not across_files:
        files = np.repeat([str(name) for name, _ in source.files], [count for _, count in source.files])
        episode = pc.binary_join_element_wise(episode.cast(pa.string()), pa.array(files), " of ")
    rows = check_columns(rows, tuple(f.name for f in features), problems, every_next=source.format == "suite")
    if columns.terminal_is_done:
        rows = rows._replace(terminal=rows.terminal & ~rows.timeout)
    if episode is not None:
        order, last = order_rows(episode, step, rows.terminal | rows.timeout, problems)
        rows = reorder(rows, order)._replace(last=last)
        if columns.terminal is None and columns.timeout is None:
            rows = rows._replace(terminal=last)
    episodes, ends = cut_episodes(rows)
    if not episodes:
        raise DataError(
            f"{where}: no episode is left of its {table.num_rows} rows: none of them has a next observation or "
            f"terminates. Name the column of terminations, {OPTION}terminal=NAME, or of next observations, "
            f"{OPTION}next_observation=NAME."
        )
    read = {key: value for key, value in columns._asdict().items() if value and key not in ("not_read", "left_over")}
    made_by = {
        "imported_by": "spin_jax.logs",
        "files": [{"file": name, "rows": count, "format": source.format} for name, count in source.files],
        "columns": read,
        "ends": ends,
    }
    varies = observation.std(0, dtype=np.float64)
    small = tuple(f.name for f, std in zip(features, varies, strict=True) if 0 < std < LEAST_STD)
    return Log(episodes, spaces, page(where, source, columns, spaces, episodes, ends, small), made_by)


def _check_ends(columns: ColumnMap, where: object) -> None:
    if columns.episode or columns.terminal or columns.timeout or columns.next_observation:
        return
    raise DataError(
        f"{where}: nothing says which rows belong to one episode. Name a column that does: {OPTION}episode=NAME (an "
        f"id, the same in all rows of an episode), {OPTION}terminal=NAME or {OPTION}timeout=NAME (1 in its last row); "
        f"or, if every row is a decision of its own: {OPTION}episode={EACH_ROW}"
    )


def _flags(table: pa.Table, name: str | None, problems: Problems) -> np.ndarray:
    return np.zeros(table.num_rows, bool) if name is None else numbers(table.column(name), name, problems)


def _order_columns(
    table: pa.Table, columns: ColumnMap, problems: Problems
) -> tuple[pa.Array | None, np.ndarray | None]:
    """The columns episode and step; None where there is none."""
    if columns.episode is None:
        return None, None
    if columns.episode == EACH_ROW and EACH_ROW not in table.column_names:
        return pa.array(np.arange(table.num_rows)), None
    episode = single(table.column(columns.episode), columns.episode, problems)
    if pa.types.is_nested(episode.type):
        raise DataError(
            f"{problems.where}: {columns.episode} holds {described(table.column(columns.episode))}; an episode's id "
            f"must be one number or text. Name another column, {OPTION}episode=NAME."
        )
    if columns.step is None:
        return episode, None
    step = table.column(columns.step)
    if pa.types.is_temporal(step.type) and not pa.types.is_time(step.type):  # in its own unit, which orders as well
        step = (step.cast(pa.int32()) if pa.types.is_date32(step.type) else step).cast(pa.int64())
    if pa.types.is_temporal(step.type) or pa.types.is_string(step.type):
        raise DataError(
            f"{problems.where}: {columns.step} holds {described(step)}; a step must be a number, a date or a date with "
            f"a time. Name another column, {OPTION}step=NAME, or keep the order of the file: {OPTION}step=none"
        )
    values = numbers(step, columns.step, problems)
    problems.add_entries(np.isnan(values), lambda r: f"has no {columns.step}: NaN is none", "give every row its step")
    return episode, values
