"""What columns mean by their usual names, what is never a feature, and the page that says so."""

import numpy as np
import pyarrow as pa
import pytest

from spin_jax.errors import DataError
from spin_jax.logs.column_map import BY_USUAL_NAMES, ColumnConfig, map_columns, select
from spin_jax.logs.read_log import read_log
from spin_jax.logs.sources import Source

LIST = pa.list_(pa.float32())


def understood(config=BY_USUAL_NAMES, **types):
    """The meaning of columns of these types."""
    return map_columns(pa.schema(list(types.items())).empty_table(), config, "log")


NUMBER, TEXT, FLAG = pa.float64(), pa.string(), pa.bool_()
RLLIB = {
    "obs": LIST, "actions": LIST, "rewards": NUMBER, "eps_id": NUMBER, "t": NUMBER, "new_obs": LIST,
    "terminateds": FLAG, "truncateds": FLAG, "action_prob": NUMBER, "action_logp": NUMBER, "infos": TEXT,
    "unroll_id": NUMBER,
}  # fmt: skip
D3RLPY = {"observations": LIST, "actions": LIST, "rewards": NUMBER, "terminals": NUMBER, "timeouts": NUMBER}
CLINIC = {
    "": NUMBER, "Patient_ID": NUMBER, "Episode": TEXT, "Time_Step": NUMBER, "age": NUMBER, "sex": TEXT,
    "next_age": NUMBER, "action_a": TEXT, "action_b": TEXT, "Action_Prob": NUMBER, "Reward": NUMBER, "Done": FLAG,
    "return_to_go": NUMBER,
}  # fmt: skip


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (RLLIB, {
            "observation": ("obs",), "action": ("actions",), "reward": "rewards", "episode": "eps_id", "step": "t",
            "terminal": "terminateds", "timeout": "truncateds", "propensity": "action_prob",
            "next_observation": ("new_obs",), "left_over": False,
        }),
        (D3RLPY, {
            "observation": ("observations",), "action": ("actions",), "reward": "rewards", "episode": None,
            "step": None, "terminal": "terminals", "timeout": "timeouts", "propensity": None, "next_observation": (),
        }),
        (CLINIC, {
            "observation": ("age",), "action": ("action_a", "action_b"), "reward": "Reward", "episode": "Episode",
            "step": "Time_Step", "terminal": "Done", "timeout": None, "propensity": "Action_Prob",
            "next_observation": ("next_age",), "left_over": True,
        }),
    ],
    ids=["rllib", "d3rlpy", "clinic"],
)  # fmt: skip
def test_usual_names(types, expected):
    found = understood(**types)
    assert {name: getattr(found, name) for name in expected} == expected


def test_what_knows_the_action_or_the_future_is_no_feature():
    more = {
        "done": FLAG,
        "returns": NUMBER,
        "action_logp": NUMBER,
        "next_x": NUMBER,
        "index": NUMBER,
        "user_id": NUMBER,
    }
    found = understood(
        x=NUMBER, y=NUMBER, flag=FLAG, action=LIST, action_old=NUMBER, reward=NUMBER, terminal=FLAG, **more
    )
    assert found.observation == ("x", "y", "flag")
    assert found.not_read == {
        "done": "the usual name of a terminal",
        "returns": "knows later rewards",
        "action_logp": "knows the action",
        "action_old": "looks like a part of the action",
        "next_x": "knows what follows",
        "index": "numbers the rows",
        "user_id": "an id",
    }
    named = understood(
        ColumnConfig(observation="x,user_id"), **dict.fromkeys(("x", "user_id", "action", "reward"), NUMBER)
    )
    assert named.observation == ("x", "user_id")


def test_names_that_are_said_come_first_in_the_order_in_which_they_are_said():
    types = dict.fromkeys(("b2", "a", "b1", "r", "end", "terminal"), NUMBER)
    found = understood(
        ColumnConfig(observation="a", action="b1,b*", reward="r", timeout="end", terminal="none"), **types
    )
    assert (found.action, found.reward, found.timeout, found.terminal) == (("b1", "b2"), "r", "end", None)
    assert understood(ColumnConfig(observation="a", action="b*", reward="r"), **types).action == ("b2", "b1")
    with pytest.raises(DataError, match=r"categorical=a\[x\] names 'a\[x\]'"):
        understood(ColumnConfig(observation="a", action="b*", reward="r", categorical="a[x]"), **types)


def test_done_with_a_column_of_time_limits_terminates_only_where_that_is_not_set():
    table = pa.table({
        "x": [0.0, 1, 2, 3], "next_x": [1.0, 5, 3, 6], "action": [0, 1, 0, 1], "reward": [0.0] * 4,
        "done": [False, True, False, True], "truncated": [False, True, False, False],
    })  # fmt: skip
    log = read_log(Source(table, "csv", (("log", 4),)), BY_USUAL_NAMES, "log")
    assert [episode.terminal for episode in log.episodes] == [False, True]
    assert "done is taken for terminations, except where truncated is set; if it marks" in log.page


def test_the_page_of_a_small_log_by_hand():
    table = pa.table({
        "": range(6), "day": ["mon"] * 6, "user_id": range(6), "session": list("aabbbc"),
        "age": [30.0, 31, 40, 41, 42, 50], "ward": list("xyxyxy"), "slot_drug": ["none", "drug"] * 3,
        "slot_dose": [0, 1, 2, 3, 0, 1],
        "slot_one": [7] * 6, "reward": [0.0, 1, 0, 0, 2, 0], "pscore": np.full(6, 0.125), "seq": range(6),
    })  # fmt: skip
    config = ColumnConfig(episode="session", step="seq", categorical="ward", observation="age,ward")
    log = read_log(Source(table, "csv", (("log.csv", 6),)), config, "log.csv")
    assert (
        log.page
        == """\
What was understood of log.csv (csv, 6 rows, 12 columns):
  observation  age, ward = 3 features; one-hot: ward
  action       slot_drug, slot_dose, slot_one: 3 slots, 8 joint actions
    slot_drug  2 choices: drug, none
    slot_dose  4 choices: 0 to 3
    slot_one   1 choice: 7
  reward       reward, 0 to 2, mean 0.5, 0 in 67% of the rows
  episodes     3 of 1 to 3 steps (mean 2.0); by session, ordered by seq
  ends         no column says how episodes end: each end is taken for a termination, with no value behind it (if time \
limits ended them, add a column that is 1 in their last rows: config.data.columns.timeout=NAME)
  propensity   pscore, at least 0.125
  not read     a column without a name (numbers the rows); day (holds text); user_id (an id)
  note         slot slot_one has a single choice, 7: nothing can be learnt for it; it may be left out"""
    )
    assert log.made_by["columns"]["observation"] == ("age", "ward")
    table = table.drop_columns(["session", "pscore"]).append_column("timeout", pa.array([0, 0, 1, 0, 0, 0]))
    page = read_log(Source(table, "csv", (("log.csv", 6),)), ColumnConfig(step="seq"), "log.csv").page
    assert "  observation  age (all numbers left over; other ones: config.data.columns.observation=…)" in page
    assert (
        "  episodes     2 of 2 to 2 steps (mean 2.0); cut at the end flags and where observations do not conti" in page
    )
    assert "  ends         timeout: 1 time limits, 1 at last rows without a flag (taken for time limits)" in page
    assert "  note         seq orders nothing, since no column is named as config.data.columns.episode" in page
    assert "  note         2 transitions are left out: the last ones of episodes that did not terminate" in page


def test_ids_that_are_cut_where_observations_do_not_continue_are_told():
    table = pa.table({"p": list("aab"), "x": [0.1, 0.2, 0.4], "next_x": [0.21, 0.3, 0.5], "action": [0, 1, 0]})
    table = table.append_column("reward", pa.array([0.0] * 3))
    page = read_log(Source(table, "csv", (("log.csv", 3),)), ColumnConfig(episode="p"), "log.csv").page
    assert (
        "timeout=NAME), but for 1 where the next observation is not the next row's (taken for time limits); if these "
        "are none: config.data.columns.next_observation=none"
    ) in page


def test_features_that_are_too_small_to_be_scaled_are_named():
    columns = {"age": [30.0, 40, 50], "creatinine": [8e-5, 9e-5, 1e-4], "one": [1.0] * 3, "action": [0, 1, 0]}
    table = pa.table(columns | {"reward": [0.0] * 3})
    page = read_log(Source(table, "csv", (("log.csv", 3),)), ColumnConfig(episode="each_row"), "log.csv").page
    assert "note         the standard deviation of creatinine is below 0.001: normalisation leaves" in page


def test_columns_with_commas_are_named_in_quotes():
    names = ["drug", "dose (mg, daily)", 'so "called"', "star*"]
    assert select("drug, dose (mg", ["drug", "dose (mg"], "action", "log") == ("drug", "dose (mg")
    assert select('drug, "dose (mg, daily)","so ""called"""', names, "action", "log") == tuple(names[:3])
    assert select("dose (mg, daily)", names, "action", "log") == (names[1],)
    assert select("star*", names, "action", "log") == ("star*",)
    assert select("d*", names, "action", "log") == ("drug", "dose (mg, daily)")
