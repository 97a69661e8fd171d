import numpy as np
import pyarrow as pa
import pytest

from spin_jax.data.rlds import EpisodeSource
from spin_jax.errors import DataError
from spin_jax.logs.frame import LoggedDataset as Dataset


def test_a_frame_is_imported_once_and_keeps_its_words(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (extra test)")
    frame = pandas.DataFrame(
        {"who": [1, 1, 2, 2], "age": [30.0, 30, 50, 50], "drug": list("abba"), "dose": [10, 20, 10, 20], "effect": 1.0}
    )
    columns = {"action": ["drug", "dose"], "reward": "effect", "episode": "who"}
    found = Dataset.from_pandas(frame, "ward", tmp_path, **columns)
    assert found.spaces.choices == (("a", "b"), (10, 20))
    assert found.spaces.slots == ("drug", "dose")
    first, second = list(EpisodeSource(str(found.path), "train"))
    np.testing.assert_array_equal(first.action, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(second.action, [[1, 0], [0, 1]])
    before = found.path.stat().st_mtime_ns
    assert Dataset.from_pandas(frame, "ward", tmp_path, **columns) == found
    assert found.path.stat().st_mtime_ns == before


def test_columns_of_any_name_can_be_named(tmp_path):
    names = ["dose (mg, daily)", ' "drug" ']
    table = pa.table({names[0]: [10, 20], names[1]: list("ab"), "age": [1.0, 2.0], "reward": [0.0, 1.0]})
    found = Dataset.from_pandas(table, "ward", tmp_path, action=names, episode="each_row", step=None)
    assert found.spaces.slots == tuple(names)


def test_text_as_polars_gives_it_is_read(tmp_path):
    """Views of text, and categories that are such."""
    view, words = pa.array(["a", "b", None], pa.string_view()), pa.array(["x", "y"], pa.string_view())
    kinds = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1], pa.int32()), words)
    table = pa.table({"drug": kinds, "ward": view, "note": view, "age": [1.0, 2, 3], "reward": [0.0, 1, 2]})
    table = table.slice(0, 2)
    found = Dataset.from_pandas(
        table, "ward", tmp_path, action="drug", observation="age,ward", categorical="ward", episode="each_row"
    )
    assert found.spaces.choices == (("x", "y"),)
    assert [feature.name for feature in found.spaces.features] == ["age", "ward=a", "ward=b"]
    first, second = list(EpisodeSource(str(found.path), "train"))
    assert (first.action.item(), second.action.item()) == (1, 0)


def test_arrays_are_a_frame_too(tmp_path):
    arrays = {
        "observation": np.eye(3, dtype=np.float32), "action": np.array([[0, 2], [1, 0], [1, 1]]),
        "reward": np.arange(3.0), "terminal": np.array([0, 0, 1]),
    }  # fmt: skip
    found = Dataset.from_arrays(arrays, data_dir=tmp_path)
    (episode,) = list(EpisodeSource(str(found.path), "train"))
    np.testing.assert_array_equal(episode.action, arrays["action"])
    assert found.spaces.spec.cardinalities == (2, 3)


def test_an_unknown_kind_of_column_is_named(tmp_path):
    with pytest.raises(DataError, match="actions is not a kind of column; there are observation, action, reward"):
        Dataset.from_arrays({}, data_dir=tmp_path, actions="slot_*")
