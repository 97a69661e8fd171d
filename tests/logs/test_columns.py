"""Rows into episodes: hand tables of what ends an episode, their order, and every bad entry named."""

import numpy as np
import pyarrow as pa
import pytest

from spin_jax.errors import DataError
from spin_jax.logs.columns import Columns, check_columns, cut_episodes, order_rows, reorder
from spin_jax.logs.problems import Problems

NAN = np.nan


def raw(rows=5, terminal=(), timeout=(), following=None):
    """Observation t is [t], its action [t % 2], its reward t."""
    number = np.arange(rows)
    return Columns(
        observation=number[:, None].astype(np.float32),
        action=number[:, None] % 2,
        reward=number * 1.0,
        terminal=np.isin(number, terminal),
        timeout=np.isin(number, timeout),
        next_observation=np.array([] if following is None else following, np.float32)[:, None],
        last=number == rows - 1,
    )


def check(columns, every_next=False):
    return check_columns(columns, ("age", "pulse"), Problems("log"), every_next)


def cut(columns):
    episodes, cuts = cut_episodes(check(columns))
    return [(e.observation[:, 0].tolist(), e.reward.tolist(), e.terminal) for e in episodes], cuts


def counts(terminal=0, timeout=0, not_continuous=0, no_flag=0, dropped_transitions=0):
    return locals()


CASES = {
    "a time limit keeps its last transition where the next observation is known": (
        raw(timeout=[1, 4], following=[1, 9, 3, 4, 8]),
        [([0, 1, 9], [0, 1], False), ([2, 3, 4, 8], [2, 3, 4], False)],
        counts(timeout=2),
    ),
    "rows that do not continue are cut, also at the end of the file": (
        raw(following=[1, 7, 3, 4, 8]),
        [([0, 1, 7], [0, 1], False), ([2, 3, 4, 8], [2, 3, 4], False)],
        counts(not_continuous=1, no_flag=1),
    ),
    "a termination has its own last observation": (
        raw(terminal=[2], following=[1, 2, 6, 4, 8]),
        [([0, 1, 2, 6], [0, 1, 2], True), ([3, 4, 8], [3, 4], False)],
        counts(terminal=1, no_flag=1),
    ),
    "terminal counts where both are set": (
        raw(terminal=[4], timeout=[4], following=[1, 2, 3, 4, 8]),
        [([0, 1, 2, 3, 4, 8], [0, 1, 2, 3, 4], True)],
        counts(terminal=1),
    ),
    "without next observations a time limit costs a transition and a termination repeats a row": (
        raw(terminal=[1], timeout=[3]),
        [([0, 1, 1], [0, 1], True), ([2, 3], [2], False)],  # row 4 was an episode of its own
        counts(terminal=1, timeout=1, no_flag=1, dropped_transitions=2),
    ),
    "next observations that are given at ends alone are enough": (
        raw(timeout=[1], following=[NAN, 9, NAN, NAN, 8]),
        [([0, 1, 9], [0, 1], False), ([2, 3, 4, 8], [2, 3, 4], False)],
        counts(timeout=1, no_flag=1),
    ),
}


@pytest.mark.parametrize(("columns", "expected", "expected_counts"), CASES.values(), ids=CASES)
def test_episodes_by_hand(columns, expected, expected_counts):
    assert cut(columns) == (expected, expected_counts)


def test_types_of_an_episode():
    episode = cut_episodes(check(raw()._replace(propensity=np.full(5, 0.5))))[0][0]
    assert [x.dtype for x in (*episode[:3], episode.propensity)] == [np.float32, int, np.float32, np.float32]
    assert episode.terminal is False


def changed(name, index, value):
    columns = raw(following=[1, 2, 3, 4, 5])._replace(propensity=np.ones(5))
    values = getattr(columns, name).astype(float)
    values[index] = value
    return columns._replace(**{name: values})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (changed("observation", (3, 0), NAN), "row 3 has nan in age"),
        (changed("next_observation", (1, 0), -np.inf), "row 1 has -inf in next age"),
        (changed("next_observation", (1, 0), NAN), "row 1 has nan in next age"),
        (changed("reward", 2, NAN), "row 2 has reward nan"),
        (changed("reward", 2, 1e300), r"row 2 has reward 1e\+300"),
        (changed("terminal", 1, 2), "row 1 has terminal 2.0, neither 0 nor 1"),
        (changed("timeout", 1, NAN), "row 1 has timeout nan, neither 0 nor 1"),
        (changed("propensity", 1, 1.01), "row 1 has propensity 1.01"),
        (changed("propensity", 1, NAN), "row 1 has propensity nan"),
        (changed("propensity", 1, 1e-50), "row 1 has propensity 1e-50"),
    ],
)
def test_a_bad_entry_is_named(columns, message):
    with pytest.raises(
        DataError, match=f"^log: 1 bad row, counted from 0; nothing was written:\n  {message}\nWhat would"
    ):
        check(columns, every_next=True)


def test_a_partly_unknown_next_observation_is_an_error_even_where_whole_ones_may_lack():
    columns = raw()._replace(observation=np.zeros((5, 2)), next_observation=np.zeros((5, 2)))
    columns.next_observation[1] = NAN
    check(columns)
    columns.next_observation[2, 1] = NAN
    with pytest.raises(DataError, match="1 bad row.*\n  row 2 has nan in next pulse"):
        check(columns)


def test_many_bad_rows_are_counted():
    with pytest.raises(
        DataError, match=r"20 bad rows(.*\n){5}  row 4 has reward nan\n  and 15 more rows\nWhat would do"
    ):
        check(raw(20)._replace(reward=np.full(20, NAN)))


def test_rows_of_several_files_are_numbered_in_their_file():
    problems = Problems("log", (("a.csv", 3), ("b.csv", 2)))
    assert [problems.row(row) for row in range(5)] == [f"row {i} of a.csv" for i in range(3)] + [
        f"row {i} of b.csv" for i in range(2)
    ]


ORDERS = {
    "whole already": (["b", "b", "a"], None, None, [False, True, True]),
    "in order already": (["b", "b", "a"], [3, 7, 0], None, [False, True, True]),
    "steps backwards": (["b", "b", "a"], [7, 3, 0], [1, 0, 2], [False, True, True]),
    "mixed": (["b", "a", "b", "a"], [1, 1, 0, 0], [2, 0, 3, 1], [False, True, False, True]),
    "same steps in other episodes": (["b", "a"], [0, 0], None, [True, True]),
}


@pytest.mark.parametrize(("episode", "step", "order", "last"), ORDERS.values(), ids=ORDERS)
def test_orders_by_hand(episode, step, order, last):
    found = order_rows(pa.array(episode), step and np.array(step), np.zeros(len(episode), bool), Problems("log"))
    assert (found[0] is None) == (order is None)
    assert order is None or found[0].tolist() == order
    assert found[1].tolist() == last


def test_every_column_moves_with_its_row():
    columns = raw(3, terminal=[0], following=[1, 2, 3])._replace(propensity=np.array([0.1, 0.2, 0.3]))
    order = np.array([2, 0, 1])
    moved = reorder(columns, order)
    for name in ("observation", "action", "reward", "terminal", "timeout", "next_observation", "propensity"):
        np.testing.assert_array_equal(getattr(moved, name), [getattr(columns, name)[row] for row in order])
    assert reorder(raw(), None).next_observation.shape == (0, 1)


def test_rows_are_named_as_they_are_in_the_file_even_where_they_are_put_in_order():
    """Row 2 is the first step of episode a, with a flag; row 0 its second."""
    with pytest.raises(DataError, match="row 2 has an end flag, but its episode 'a' goes on in row 0 .1 such rows"):
        order_rows(pa.array(["a", "b", "a"]), np.array([1, 0, 0]), np.array([False, True, True]), Problems("log"))
    with pytest.raises(DataError, match="log: row 0 and row 2 are both step 1 of episode 'a'"):
        order_rows(pa.array(["a", "b", "a"]), np.array([1, 0, 1]), np.zeros(3, bool), Problems("log"))
