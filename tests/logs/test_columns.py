"""Columns into episodes: hand tables of what ends an episode, and every bad entry named."""

import numpy as np
import pytest

from spin_jax.errors import DataError
from spin_jax.logs.columns import check_columns, cut_episodes


def raw(rows=5, terminal=(), timeout=(), following=None):
    """Observation t is [t], its action [t % 2], its reward t."""
    flags = {name: np.isin(np.arange(rows), where) for name, where in (("terminal", terminal), ("timeout", timeout))}
    columns = {"observation": np.arange(rows)[:, None] * 1.0, "action": np.arange(rows)[:, None] % 2}
    columns |= {"reward": np.arange(rows) * 1.0, **flags}
    return columns if following is None else columns | {"next_observation": np.array(following, float)[:, None]}


def cut(columns):
    episodes, cuts = cut_episodes(check_columns(columns, "log", None, None, every_next=False))
    return [(e.observation[:, 0].tolist(), e.reward.tolist(), e.terminal) for e in episodes], cuts


def counts(terminal=0, timeout=0, not_continuous=0, end_of_file=0, dropped_transitions=0):
    return locals()


NAN = np.nan
CASES = {
    "a time limit keeps its last transition where the next observation is known": (
        raw(timeout=[1, 4], following=[1, 9, 3, 4, 8]),
        [([0, 1, 9], [0, 1], False), ([2, 3, 4, 8], [2, 3, 4], False)],
        counts(timeout=2),
    ),
    "rows that do not continue are cut, also at the end of the file": (
        raw(following=[1, 7, 3, 4, 8]),
        [([0, 1, 7], [0, 1], False), ([2, 3, 4, 8], [2, 3, 4], False)],
        counts(not_continuous=1, end_of_file=1),
    ),
    "a termination has its own last observation": (
        raw(terminal=[2], following=[1, 2, 6, 4, 8]),
        [([0, 1, 2, 6], [0, 1, 2], True), ([3, 4, 8], [3, 4], False)],
        counts(terminal=1, end_of_file=1),
    ),
    "terminal counts where both are set": (
        raw(terminal=[4], timeout=[4], following=[1, 2, 3, 4, 8]),
        [([0, 1, 2, 3, 4, 8], [0, 1, 2, 3, 4], True)],
        counts(terminal=1),
    ),
    "without next observations a time limit costs a transition and a termination repeats a row": (
        raw(terminal=[1], timeout=[3]),
        [([0, 1, 1], [0, 1], True), ([2, 3], [2], False)],  # row 4 was an episode of its own
        counts(terminal=1, timeout=1, end_of_file=1, dropped_transitions=2),
    ),
    "next observations that are given at ends alone are enough": (
        raw(timeout=[1], following=[NAN, 9, NAN, NAN, 8]),
        [([0, 1, 9], [0, 1], False), ([2, 3, 4, 8], [2, 3, 4], False)],
        counts(timeout=1, end_of_file=1),
    ),
}


@pytest.mark.parametrize(("columns", "expected", "expected_counts"), CASES.values(), ids=CASES)
def test_episodes_by_hand(columns, expected, expected_counts):
    assert cut(columns) == (expected, expected_counts)


def test_types_of_an_episode():
    episode = cut_episodes(check_columns(raw(), "log", None, None, every_next=False))[0][0]
    assert [x.dtype for x in episode[:3]] == [np.float32, np.int32, np.float32]
    assert episode.terminal is False


def changed(name, index, value):
    columns = raw(following=[1, 2, 3, 4, 5])
    columns[name] = columns[name].astype(float)
    columns[name][index] = value
    return columns


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (changed("observation", (3, 0), NAN), "row 3 has observation nan in column 0"),
        (changed("observation", (3, 0), 1e300), "row 3 has observation inf in column 0"),
        (changed("next_observation", (1, 0), -np.inf), "row 1 has next_observation -inf in column 0"),
        (changed("next_observation", (1, 0), NAN), "row 1 has next_observation nan in column 0"),
        (changed("reward", 2, NAN), "row 2 has reward nan"),
        (changed("action", (4, 0), 2), "row 4 has action 2.0 in slot 0; that slot has whole numbers from 0 to 1"),
        (changed("action", (4, 0), -1), "row 4 has action -1.0 in slot 0"),
        (changed("action", (4, 0), 0.5), "row 4 has action 0.5 in slot 0"),
        (changed("action", (4, 0), NAN), "row 4 has action nan in slot 0"),
        (changed("terminal", 1, 2), "row 1 has terminal 2.0, neither 0 nor 1"),
        (changed("timeout", 1, NAN), "row 1 has timeout nan, neither 0 nor 1"),
    ],
)
def test_a_bad_entry_is_named(columns, message):
    with pytest.raises(DataError, match=f"^log: 1 bad row, counted from 0; nothing was written:\n  {message}"):
        check_columns(columns, "log", None, 2, every_next=True)


def test_a_partly_unknown_next_observation_is_an_error_even_where_whole_ones_may_lack():
    columns = raw(following=[1, 2, 3, 4, 5]) | {"observation": np.zeros((5, 2)), "next_observation": np.zeros((5, 2))}
    columns["next_observation"][1] = NAN
    check_columns(columns, "log", None, None, every_next=False)
    columns["next_observation"][2, 1] = NAN
    with pytest.raises(DataError, match="1 bad row.*\n  row 2 has next_observation nan in column 1"):
        check_columns(columns, "log", None, None, every_next=False)


def test_many_bad_rows_are_counted():
    columns = raw(20) | {"reward": np.full(20, NAN)}
    with pytest.raises(DataError, match=r"20 bad rows(.*\n){5}  row 4 has reward nan\n  and 15 more rows$"):
        check_columns(columns, "log", None, None, every_next=False)


@pytest.mark.parametrize(
    ("change", "widths", "cardinalities", "message"),
    [
        ({"observation": np.zeros(5)}, None, None, r"observation has shape \[5\], needed \[5, width\]"),
        ({"terminal": np.zeros(4)}, None, None, r"terminal has shape \[4\], needed \[5\]"),
        ({"reward": np.array(["a"] * 5)}, None, None, "reward holds values of type <U1; only numbers"),
        ({}, (2, 1), None, "observation has width 1, needed 2"),
        ({}, (1, 3), None, "action has width 1, needed 3"),
        ({}, None, (3, 3), "action has width 1, but 2 cardinalities were given"),
        ({name: values[:0] for name, values in raw().items()}, None, None, "log has no rows"),
    ],
)
def test_columns_that_do_not_fit_are_named(change, widths, cardinalities, message):
    with pytest.raises(DataError, match=message):
        check_columns(raw() | change, "log", widths, cardinalities, every_next=False)
