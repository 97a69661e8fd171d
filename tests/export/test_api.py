"""spin_jax.load: what may be asked of a trained policy, and what is refused."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import spin_jax
from spin_jax.errors import ConfigError, DataError
from spin_jax.export.api import TrainedPolicy
from spin_jax.export.multi_discrete import from_multi_discrete, to_multi_discrete
from spin_jax.export.words import rows_of
from spin_jax.types import ActionSpec, Feature, Spaces

ROW = {"age": 40, "pulse": [80, 3.5], "ward": "B", "doctor": "not read"}


class Frame:
    """As much of a data frame as is used."""

    columns = ("age",)

    def to_dict(self, orient):
        assert orient == "records"
        return [ROW, ROW | {"age": 1}]


@pytest.fixture
def policy(make_trained):
    """Choice 1 of slot 0 if age > 30, choice 2 of slot 1 in ward B; the noise decides slot 2."""

    def act(rows, noise):
        return np.stack([rows[:, 0] > 30, 2 * rows[:, 4], noise[:, 0] > 0], axis=1)

    def probabilities(rows):
        return np.tile(np.float32([[0.25, 0.75, 0], [0.5, 0.25, 0.25], [1, 0, 0]]), (len(rows), 1, 1))

    return TrainedPolicy(make_trained("factored").header, act, probabilities)


def test_numbers_in_indices_out(policy):
    observation = np.array([40, 80, 3.5, 0, 1])
    assert policy.act(observation).tolist() == [1, 2, 0]
    assert policy.act(observation[None]).dtype == np.int32
    assert policy.act([observation.tolist()] * 2).tolist() == [[1, 2, 0]] * 2
    assert policy.probabilities(observation).shape == (3, 3)
    assert policy.probabilities(observation[None]).shape == (1, 3, 3)
    assert policy.spec == ActionSpec((2, 3, 2))


def test_words_in_names_out(policy):
    """Hand table; the columns are read by name, whatever their order, and others are not read."""
    expected = {"drug": "aspirin", "dose": 20, "visit": False}
    assert policy.act(ROW) == expected
    assert policy.act([ROW, ROW | {"ward": "A"}]) == [expected, expected | {"dose": 0}]
    assert policy.act(Frame()) == [expected, expected | {"drug": "none"}]
    found = policy.probabilities(ROW)
    assert found["drug"] == {"none": 0.25, "aspirin": 0.75}
    assert found["visit"] == {False: 1.0, True: 0.0}
    assert policy.probabilities([ROW])[0] == found


def test_frames_of_polars_and_rows_of_pandas_are_read_by_name(policy):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (extra test)")
    expected = {"drug": "aspirin", "dose": 20, "visit": False}
    row = pandas.Series(dict(reversed(ROW.items())))
    assert policy.act(row) == expected
    assert policy.probabilities(row) == policy.probabilities(ROW)
    polars = SimpleNamespace(columns=["age"], to_dicts=lambda: [ROW, ROW], to_dict=lambda: {})
    assert policy.act(polars) == [expected] * 2
    assert policy.act(pandas.DataFrame([ROW]).head(0)) == []


def test_the_columns_of_an_arrow_table_are_read_by_name(policy):
    rows = [ROW, ROW | {"age": 1}]
    table = pa.Table.from_pylist([dict(reversed(row.items())) for row in rows])
    assert policy.act(table) == policy.act(rows)


def test_a_category_may_be_an_item_of_a_list():
    kinds = [Feature("seen", 1, category) for category in ("A", "B")]
    spaces = Spaces((Feature("seen", 0), *kinds), ("slot",), ((0, 1),))
    found = rows_of(spaces, [{"seen": [0.5, "B"]}, {"seen": (2, "A")}])
    np.testing.assert_array_equal(found, [[0.5, 0, 1], [2, 1, 0]])
    with pytest.raises(
        DataError, match=r"Row 0: seen\[1\] is 'C', which the policy's log does not have. Known: 'A', 'B'"
    ):
        rows_of(spaces, [{"seen": [0.5, "C"]}])
    with pytest.raises(DataError, match=r"Row 0: seen has no item 1; it is \[0.5\]"):
        rows_of(spaces, [{"seen": [0.5]}])


def test_seeds_repeat_and_no_seed_does_not(policy):
    rows = np.ones((200, 5), np.float32)
    first = policy.act(rows, greedy=False, seed=1)
    np.testing.assert_array_equal(policy.act(rows, greedy=False, seed=1), first)
    assert (policy.act(rows, greedy=False, seed=2) != first).any()
    assert (policy.act(rows, greedy=False) != policy.act(rows, greedy=False)).any()
    generator = np.random.default_rng(1)
    np.testing.assert_array_equal(policy.act(rows, greedy=False, seed=generator), first)
    assert (policy.act(rows, greedy=False, seed=generator) != first).any()
    assert (policy.act(rows)[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(4), r"shape \(4,\); the policy reads 5 features, .*: age, pulse\[0\], pulse\[1\], ward=A, ward=B"),
        (np.zeros((2, 2, 5)), r"shape \(2, 2, 5\)"),
        ([[0, 0, 0, 0, 0], [0, np.nan, 0, 0, 0]], r"Row 1: pulse\[0\] is nan"),
        (["a", "b"], "array of numbers, a mapping or a data frame"),
        ({"age": 4, "ward": "A"}, "Row 0 has no column 'pulse'; it has 'age', 'ward'"),
        ([ROW, ROW | {"ward": "C"}], "Row 1: ward is 'C', which the policy's log does not have. Known: 'A', 'B'"),
        (ROW | {"pulse": [80]}, r"Row 0: pulse has no item 1; it is \[80\]"),
        (ROW | {"pulse": [80, "high"]}, r"Row 0: pulse\[1\] is not a number in 'high'"),
        (ROW | {"age": "old"}, "Row 0: age is not a number in 'old'"),
        (ROW | {"age": float("inf")}, "Row 0: age is inf"),
        (ROW | {"age": 1e39}, "Row 0: age is inf"),  # beyond float32
    ],
)
def test_what_cannot_be_read_is_named(policy, observation, message):
    for ask in (policy.act, policy.probabilities):
        with pytest.raises(DataError, match=message):
            ask(observation)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"PK no archive", "is no export of a policy"), (b"", "is no export|needs the package")],
)
def test_a_file_that_is_no_policy_is_named(tmp_path, content, message):
    path = tmp_path / "policy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        spin_jax.load(path)
    np.savez(path.with_suffix(".npz"), other=np.zeros(2))
    with pytest.raises(DataError, match="is no export of a policy"):
        spin_jax.load(path.with_suffix(".npz"))


def test_configurations_are_ours_where_the_caller_has_some_of_that_name(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("MINE = 1")
    (tmp_path / "configs" / "base.py").write_text("MINE = 2")
    lines = ["import configs.base, sys, spin_jax"]
    lines += ["print([spin_jax.get_config(name).task for name in ('log:quick', 'fish_swim')])", "import configs"]
    lines += ["print(configs.MINE, configs.base.MINE, 'configs.log' in sys.modules)"]
    code = "\n".join(lines)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "['log', 'fish_swim']\n1 2 False\n", done.stderr


def test_training_leaves_the_callers_process_as_it_was(tmp_path):
    import jax

    config, handler = spin_jax.get_config("cheetah_run:smoke"), signal.getsignal(signal.SIGTERM)
    config.policy = "nope"
    before = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", "warn")
    try:
        with pytest.raises(ConfigError, match="config.policy is 'nope'"):
            spin_jax.train(config, tmp_path)
        assert jax.config.jax_numpy_rank_promotion == "warn"
    finally:
        jax.config.update("jax_numpy_rank_promotion", before)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_importing_the_package_does_not_import_jax():
    program = "import spin_jax, sys; assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = spin_jax.lod


def test_multi_discrete_and_back():
    """A stand-in for gymnasium's class has the two fields that are read."""
    assert from_multi_discrete(SimpleNamespace(nvec=np.array([2, 3]), start=np.zeros(2))) == ActionSpec((2, 3))
    for bad in ({"nvec": np.ones((2, 2)), "start": 0}, {"nvec": np.array([2, 3]), "start": np.array([0, 1])}):
        with pytest.raises(DataError, match="not one axis of slots"):
            from_multi_discrete(SimpleNamespace(**bad))


def test_multi_discrete_of_gymnasium():
    spaces = pytest.importorskip("gymnasium.spaces", reason="pip install gymnasium")
    space = to_multi_discrete(ActionSpec((2, 5)))
    assert space == spaces.MultiDiscrete([2, 5])
    assert from_multi_discrete(space) == ActionSpec((2, 5))
