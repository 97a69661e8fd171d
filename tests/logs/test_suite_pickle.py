"""The suite's pickles: every protocol is read, nothing in them is ever run, bad rows are named."""

import collections
import datetime
import os
import pickle

import numpy as np
import pytest

from spin_jax.errors import DataError
from spin_jax.logs.suite_pickle import load_pickle, suite_columns


def make_rows(count=6, dtype=np.float64):
    """One running log of 3 features and 2 slots."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(count + 1, 3)).astype(dtype)
    actions = rng.integers(0, 3, (count, 2))
    return [(states[i], actions[i], float(i), states[i + 1], i == count - 1) for i in range(count)]


def write(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_the_numbers_that_were_written(tmp_path, protocol, dtype):
    rows = make_rows(dtype=dtype)
    found = suite_columns(write(tmp_path / "log", rows, protocol), (3, 2))
    for name, column in (("observation", 0), ("action", 1), ("reward", 2), ("next_observation", 3), ("terminal", 4)):
        np.testing.assert_array_equal(found[name], np.array([row[column] for row in rows]))
    assert found["observation"].itemsize == np.dtype(dtype).itemsize
    assert not found["timeout"].any()


def test_rows_of_numpy_scalars_lists_and_other_layouts_are_read(tmp_path):
    """Also the names of numpy 1, in whose time the suite was made."""
    rows = [
        (list(s), [int(k) for k in a], np.float32(r), np.asfortranarray(n[None]), np.bool_(d))
        for s, a, r, n, d in make_rows()
    ]
    content = pickle.dumps(rows, 2)
    assert b"numpy._core.multiarray" in content
    (tmp_path / "log").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    found = suite_columns(tmp_path / "log", None)
    np.testing.assert_array_equal(found["next_observation"], [row[3] for row in make_rows()])
    np.testing.assert_array_equal(found["reward"], np.arange(6))
    np.testing.assert_array_equal(found["terminal"], [False] * 5 + [True])
    assert not found["timeout"].any()


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_call_into_the_system_is_refused_and_not_made(tmp_path, protocol):
    path = write(tmp_path / "log", [Calls(os.system, f"touch {tmp_path}/ran")], protocol)
    with pytest.raises(DataError, match=r"(posix|nt)\.system.*Nothing of the file was run"):
        load_pickle(path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes())  # the oracle: the attack is real
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(eval, "1"), r"builtin(s|__)\.eval"),
        (Calls(getattr, "", "upper"), r"\.getattr"),
        (collections.OrderedDict(), r"collections\.OrderedDict"),
        (datetime.date(2024, 1, 1), r"datetime\.date"),
        (Calls(np.load, "x.npy"), r"numpy\.load"),
        (np.array([None]), "an array of type 'O8?'"),
        (np.array(["text"]), "an array of type 'U4'"),
        (np.zeros(2, [("a", "O")]), "an array of type 'V8'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_everything_but_plain_arrays_is_refused_by_name(tmp_path, value, name, protocol):
    with pytest.raises(DataError, match=name):
        load_pickle(write(tmp_path / "log", [value], protocol))


def test_what_a_file_says_about_a_type_does_not_reach_numpy(tmp_path):
    """A dtype state that claims object fields and flags: read as the plain float64 that its name says."""
    content = pickle.dumps(np.array([1.5]), 2)
    honest, made_up = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00", b"NNNK\x01K\x01K\x3f"  # item size 1, all flags
    assert honest in content
    (tmp_path / "log").write_bytes(content.replace(honest, made_up))
    np.testing.assert_array_equal(load_pickle(tmp_path / "log").value, [1.5])


def test_an_object_outside_of_the_file_is_refused(tmp_path):
    (tmp_path / "log").write_bytes(b"Pelsewhere\n.")
    with pytest.raises(DataError, match=r"outside of the file \('elsewhere'\)"):
        load_pickle(tmp_path / "log")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_file_that_was_cut_is_named(tmp_path, share, protocol):
    path = write(tmp_path / "log", make_rows(), protocol)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=f"{path} is not a whole pickle"):
        load_pickle(path)


def test_what_is_no_pickle_of_rows_is_named(tmp_path):
    for content, message in (
        (b"\x89PNG and more", "is not a whole pickle"),
        (pickle.dumps([]), "holds an empty list, not a list of"),
        (pickle.dumps({"a": 1}), "holds a dict, not a list of"),
        (pickle.dumps([1]) + pickle.dumps([2]), "something follows after the list"),
    ):
        (tmp_path / "log").write_bytes(content)
        with pytest.raises(DataError, match=message):
            suite_columns(tmp_path / "log", None)
    with pytest.raises(DataError, match="nowhere cannot be read: No such file"):
        load_pickle(tmp_path / "nowhere")


def changed(index, value, row=2):
    """Good rows with one entry of one row replaced; index None replaces the row."""
    rows = make_rows()
    rows[row] = value if index is None else (*rows[row][:index], value, *rows[row][index + 1 :])
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(None, (1, 2, 3)), r"row 2 is not \(state, action, reward, next_state, done\) of numbers"),
        (changed(None, 7), "row 2 is not"),
        (changed(None, "abcde"), "row 2 is not"),
        (changed(0, np.zeros(4)), "row 2 has state of width 4, needed 3"),
        (changed(0, [[1.0, 2.0], [3.0]]), "row 2 is not"),
        (changed(1, np.zeros(3, int)), "row 2 has action of width 3, needed 2"),
        (changed(2, [1.0, 2.0]), "row 2 has reward of width 2, needed 1"),
        (changed(3, np.zeros(2)), "row 2 has next_state of width 2, needed 3"),
        (changed(4, None), "row 2 is not"),
        (changed(2, 10**30), "row 2 is not"),
    ],
)
@pytest.mark.parametrize("widths", [(3, 2), None])
def test_a_bad_row_is_named(tmp_path, rows, message, widths):
    with pytest.raises(DataError, match="1 bad row, counted from 0; nothing was written:\n  " + message):
        suite_columns(write(tmp_path / "log", rows), widths)


def test_five_bad_rows_are_told_and_the_rest_counted(tmp_path):
    with pytest.raises(DataError) as error:
        suite_columns(write(tmp_path / "log", make_rows() + [(1, 2)] * 9), None)
    lines = str(error.value).splitlines()
    assert "9 bad rows" in lines[0]
    assert [line.split()[1] for line in lines[1:6]] == ["6", "7", "8", "9", "10"]
    assert lines[6].strip() == "and 4 more rows"


def test_reading_tells_how_far_it_is(tmp_path):
    path, told = write(tmp_path / "log", [(np.zeros(50_000), i) for i in range(20)]), []
    load_pickle(path, told.append)
    assert told == sorted(told)
    assert len(set(told)) > 3
    assert told[-1] == path.stat().st_size
