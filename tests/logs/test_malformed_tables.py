"""Tables that cannot be trained on: each gets one error that names the column, the row, and what would do instead."""

import numpy as np
import pyarrow as pa
import pytest

from spin_jax.errors import DataError
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.logs.import_table import import_frame, import_table

ROWS = 12


def table(**changes):
    """Three episodes of four steps; a change of None removes a column."""
    columns = {
        "ep": [i // 4 for i in range(ROWS)],
        "t": [i % 4 for i in range(ROWS)],
        "age": [20.0 + i for i in range(ROWS)],
        "ward": ["ABC"[i % 3] for i in range(ROWS)],
        "slot_drug": ["aspirin", "none"] * 6,
        "slot_dose": [i % 3 for i in range(ROWS)],
        "reward": [0.5] * ROWS,
    } | changes
    return {name: values for name, values in columns.items() if values is not None}


def with_entry(name, row, value):
    values = list(table()[name])
    values[row] = value
    return table(**{name: values})


def at(row, value, usual):
    return [value if i == row else usual for i in range(ROWS)]


CASES = {
    "no reward": (
        table(reward=None),
        {},
        "has no reward. Usual names are reward, rewards. .*columns.reward=NAME. The col",
    ),
    "no action": (
        table(slot_drug=None, slot_dose=None),
        {},
        "has no action. .*action_… or slot_…. .*columns.action=NAME",
    ),
    "no observation": (table(age=None), {}, "has no observation. .*columns.observation=NAME"),
    "no ends": (
        table(),
        {"episode": "none"},
        "nothing says which rows belong to one episode. .*columns.episode=each_row",
    ),
    "no rows": ({name: pa.array([], pa.float64()) for name in table()}, {}, " has no rows"),
    "unknown column": (
        table(),
        {"action": "slot_drag"},
        "names 'slot_drag', and no .* Did you mean 'slot_drug'.*columns are",
    ),
    "unknown prefix": (
        table(),
        {"action": "act_*"},
        r"columns.action=act_\* names 'act_\*', and no column is called so",
    ),
    "two rewards": (table(), {"reward": "age,reward"}, "columns.reward=age,reward names 2 columns; it must be one"),
    "two meanings": (
        table(),
        {"observation": "age,reward"},
        "column reward is taken both for observation and for reward",
    ),
    "leaked action": (
        table(),
        {"observation": "age,slot_dose"},
        "slot_dose is taken both for observation and for action",
    ),
    "two kinds of slots": (
        table(action_x=[0] * ROWS),
        {},
        r"action_x and slot_drug both look like slots.*columns.action=",
    ),
    "text as number": (table(reward=["high"] * ROWS), {}, r"reward holds text \('high' in row 0\); only numbers"),
    "text as feature": (
        table(),
        {"observation": "age,ward"},
        r"ward of the obs.* text \('A' in row 0\).*columns.categorical=ward",
    ),
    "undeclared category": (
        table(),
        {"categorical": "slot_drug"},
        "categorical names slot_drug, which is no part of the obs",
    ),
    "dates as feature": (
        table(day=pa.array([0] * ROWS, pa.date32())),
        {"observation": "day"},
        "holds values of type date32",
    ),
    "empty feature": (
        with_entry("age", 5, None),
        {},
        "1 bad row.*\n  row 5 has no age\nWhat would do: fill empty entries",
    ),
    "infinite feature": (
        with_entry("age", 5, np.inf),
        {},
        "\n  row 5 has inf in age\nWhat would do: every feature must be a f",
    ),
    "feature beyond float32": (with_entry("age", 5, 1e300), {}, "\n  row 5 has inf in age"),
    "empty category": (with_entry("ward", 3, None), {"categorical": "ward"}, "\n  row 3 has no ward\nWhat"),
    "broken category": (
        with_entry("age", 3, 1.5),
        {"categorical": "age"},
        "row 3 has 1.5 in age, which is no whole number",
    ),
    "empty slot": (with_entry("slot_drug", 7, None), {}, "\n  row 7 has no slot_drug\nWhat would do: fill empty"),
    "amount as slot": (
        table(slot_dose=[0.5] * ROWS),
        {},
        "12 bad rows.* row 0 has 0.5 in slot_dose, which.*\n.*more rows\nWhat.*digitize",
    ),
    "dates as slot": (
        table(slot_dose=pa.array([0] * ROWS, pa.date32())),
        {},
        r"slot_dose holds values of type date32.*convert it",
    ),
    "negative in a list": (
        table(slot_drug=None, slot_dose=None, action=at(6, [-1, 0], [1, 2])),
        {},
        r"row 6 has -1 in action\[0\]\nWhat would do: number the choices from 0",
    ),
    "lists of two widths": (
        table(slot_drug=None, slot_dose=None, action=at(6, [1], [1, 2])),
        {},
        r"row 6 has action of width 1, needed 2\nWhat would do: every row needs a list of the same width",
    ),
    "empty list": (table(obs=at(2, [], [1.0])), {}, "row 2 has an empty list as obs"),
    "empty item": (table(obs=at(2, [1.0, None], [1.0, 2.0])), {}, r"row 2 has no obs\[1\]"),
    "missing list": (table(obs=at(2, None, [1.0])), {}, "row 2 has no obs"),
    "lists of lists": (table(obs=[[[1.0]]] * ROWS), {}, "column obs of the observation holds values of type list<"),
    "reward not a number": (
        with_entry("reward", 1, np.nan),
        {},
        "row 1 has reward nan\nWhat would do: a reward must be a finite",
    ),
    "empty reward": (with_entry("reward", 1, None), {}, "row 1 has no reward"),
    "odd flag": (table(done=at(3, 2, 0)), {}, "row 3 has terminal 2, neither 0 nor 1\nWhat.*columns.terminal=none"),
    "text as flag": (table(done=["no"] * ROWS), {}, r"done holds text \('no' in row 0\)"),
    "flag inside of an episode": (
        table(done=at(5, 1, 0)),
        {},
        "row 5 has an end flag, but its episode 1 goes on in row 6.*episode=none;.*terminal=none",
    ),
    "episode that goes on later": (
        table(ep=[0] * 4 + [1] * 4 + [0] * 4, t=None),
        {"episode": "ep"},
        "episode 0 goes on in row 8, after another one began behind row 3. .*columns.step=NAME",
    ),
    "step twice": (
        table(t=[0, 1, 1, 2] * 3),
        {},
        "row 1 and row 2 are both step 1 of episode 0 .3 such pairs.*columns.step=none",
    ),
    "step as text": (
        table(t=["a"] * ROWS),
        {},
        r"t holds text \('a' in row 0\); a step must be a number.*columns.step=none",
    ),
    "empty episode": (with_entry("ep", 4, None), {}, "row 4 has no ep"),
    "probability of 0": (
        table(pscore=at(4, 0.0, 0.5)),
        {},
        r"row 4 has propensity 0.0\nWhat would do: .*lies in \(0, 1\]",
    ),
    "logarithm of a probability": (table(pscore=at(4, -0.5, 0.5)), {}, "row 4 has propensity -0.5"),
    "nothing left": (
        table(ep=None, t=None, truncated=[1] * ROWS),
        {"episode": "none"},
        "no episode is left of its 12 rows.*terminal=NAME",
    ),
    "next observation of another width": (
        table(obs=[[1.0, 2.0]] * ROWS, next_obs=[[1.0]] * ROWS),
        {},
        "next observation .next_obs. has width 1, the observation 2",
    ),
    "half a next observation": (
        table(obs=[[1.0, 2.0]] * ROWS, next_obs=[[1.0, np.nan]] * ROWS),
        {},
        r"12 bad rows.* row 0 has nan in next obs\[1\]",
    ),
    "nothing but empty entries": (table(slot_dose=[None] * ROWS), {}, "slot_dose holds nothing but empty entries"),
    "a step of NaN": (with_entry("t", 3, float("nan")), {}, "1 bad row.*\n  row 3 has no t: NaN is none"),
    "ids that are lists": (
        table(ep=[[i // 4] for i in range(ROWS)]),
        {},
        "ep holds values of type list<.*must be one n",
    ),
    "categories of two types": (
        table(bed=[1, 2, 3] * 4, next_bed=["a", "b", "c"] * 4, next_age=[1.0] * ROWS),
        {"observation": "age,bed", "categorical": "bed"},
        "bed holds values of type int64, but its next observation text. Write both alike",
    ),
    "a list as reward": (table(reward=[[1.0]] * ROWS), {}, r"reward holds values of type list<.* \(\[1.0\] in row 0\)"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_error_names_what_is_wrong_and_what_would_do(tmp_path, case):
    values, columns, message = CASES[case]
    columns = {"episode": "ep", "step": "t" if "t" in values else ""} | columns
    if columns["episode"] == "none":
        columns["step"] = ""
    with pytest.raises(DataError, match=f"(?s)^log.*{message}"):
        import_frame(pa.table(values), ColumnConfig(**columns), tmp_path, "log")
    assert not list(tmp_path.iterdir())


def test_the_table_that_the_cases_break_is_good(tmp_path):
    import_frame(pa.table(table()), ColumnConfig(episode="ep", step="t", categorical="ward"), tmp_path, "log")


def test_a_number_with_many_values_is_no_slot(tmp_path):
    rows = 10_001
    values = {"x": np.zeros(rows), "slot_id": np.arange(rows) * 7, "reward": np.zeros(rows)}
    with pytest.raises(DataError, match="slot_id would have more than 10000 choices: it looks like an amount or an id"):
        import_frame(values, ColumnConfig(episode="each_row"), tmp_path, "log")
    values["action"] = np.full((rows, 1), 1 << 40)
    with pytest.raises(DataError, match=r"action\[0\] would have more than 10000 choices"):
        import_frame(values, ColumnConfig(episode="each_row"), tmp_path, "log")
    values = {"x": np.arange(rows), "slot_a": np.zeros(rows, int), "reward": np.zeros(rows)}
    with pytest.raises(DataError, match="x has 10001 different categories, more than 1000.*columns.categorical"):
        import_frame(values, ColumnConfig(episode="each_row", categorical="x"), tmp_path, "log")


GOOD = b"x,slot_a,reward,episode\n1,a,0.5,0\n2,b,0.5,0\n"
FILES = {
    "semicolons.csv": (GOOD.replace(b",", b";"), "has no reward.*single column with separators in its name.*commas"),
    "latin.csv": (GOOD.replace(b"a,0", b"\xe9\xff,0"), "latin.csv"),
    "wide.csv": (GOOD + b"1,2\n", "wide.csv cannot be read as .csv: .*Expected 4 columns, got 2.*as many commas"),
    "missing.csv": (GOOD + b"3,,0.5,0\n", "row 2 has no slot_a\nWhat would do: fill empty entries"),
    "twice.csv": (GOOD.replace(b"slot_a", b"x"), "two columns are called 'x'. Rename"),
    "nothing.csv": (b"", "nothing.csv cannot be read as .csv: Empty CSV file"),
    "header.csv": (b"x,slot_a,reward\n", "header.csv has no rows"),
    "late.csv": (
        GOOD + b"2.5,a,0.5,0\n" * 100_000 + b"unknown,a,0.5,0\n",
        r"late.csv has no observation. .* x \(holds text \('unknown' in row 100002\) among numbers\)",
    ),
    "log.parquet": (b"PAR1", "log.parquet cannot be read as .parquet"),
    "log.npz": (b"PK\x03\x04", "log.npz cannot be read as .npz without Python objects"),
    "log": (b"not a pickle", "log is not a whole pickle"),
    "log.xlsx": (b"", "ends in .xlsx, and no reader knows that. What can be read: Parquet"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_log_is_named(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"(?s)^{tmp_path}/.*{message}"):
        import_table(tmp_path / name, ColumnConfig(), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_paths_that_are_no_logs_are_named(tmp_path):
    with pytest.raises(DataError, match="config.data.path=.*nowhere: there is no such file or directory"):
        import_table(tmp_path / "nowhere", ColumnConfig(), tmp_path)
    (tmp_path / "log").mkdir()
    with pytest.raises(DataError, match="no Parquet or CSV file directly in it. What can be read"):
        import_table(tmp_path / "log", ColumnConfig(), tmp_path)
    (tmp_path / "log" / "a.csv").write_bytes(GOOD)
    (tmp_path / "log" / "b.csv").write_bytes(GOOD.replace(b"x,", b"y,"))
    with pytest.raises(DataError, match="b.csv: column 'x' is either here or in a.csv, but not in both"):
        import_table(tmp_path / "log", ColumnConfig(), tmp_path)
    (tmp_path / "log" / "b.csv").write_bytes(GOOD.replace(b"\n1", b"\nmany"))
    with pytest.raises(DataError, match="b.csv: column x holds string here and int64 in a.csv; write them alike"):
        import_table(tmp_path / "log", ColumnConfig(), tmp_path)
    (tmp_path / "log" / "b.csv").write_bytes(GOOD + b"3,,0.5,0\n")
    with pytest.raises(DataError, match="\n  row 2 of b.csv has no slot_a"):
        import_table(tmp_path / "log", ColumnConfig(), tmp_path)
    (tmp_path / "log" / "c.parquet").touch()
    with pytest.raises(DataError, match="Parquet and CSV files together"):
        import_table(tmp_path / "log", ColumnConfig(), tmp_path)
