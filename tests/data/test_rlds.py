"""RLDS rows: the conventions by hand, and both directions through files."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from episodes import random_episode, write_data_set
from tensorflow_datasets.proto import tf_example_pb2

from spin_jax.data.rlds import EpisodeSource, from_rlds, is_plain, parsed, rlds_features, to_rlds
from spin_jax.errors import DataError
from spin_jax.types import Episode

EPISODES = [random_episode(4, True, 1), random_episode(3, False, 2), random_episode(1, True, 3)]


def assert_same(found: Episode, expected: Episode):
    for a, b in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert found.terminal is expected.terminal


@pytest.mark.parametrize(
    ("terminal", "discount", "is_terminal"),
    [(True, [1, 1, 0, 0], [False, False, False, True]), (False, [1, 1, 1, 1], [False] * 4)],
)
def test_rows_of_three_transitions(terminal, discount, is_terminal):
    """Hand table: four rows; a termination zeroes the discount of the last transition, a time limit does not."""
    episode = random_episode(3, terminal)
    rows = to_rlds(episode)
    np.testing.assert_array_equal(rows["discount"], discount)
    np.testing.assert_array_equal(rows["is_terminal"], is_terminal)
    np.testing.assert_array_equal(rows["is_first"], [True, False, False, False])
    np.testing.assert_array_equal(rows["is_last"], [False, False, False, True])
    np.testing.assert_array_equal(rows["observation"], episode.observation)
    for name in ("action", "reward"):
        np.testing.assert_array_equal(rows[name][:3], getattr(episode, name))
        assert not rows[name][3:].any()


@pytest.mark.parametrize("episode", EPISODES)
def test_from_rlds_inverts_to_rlds(episode):
    assert_same(from_rlds(to_rlds(episode)), episode)


def test_rows_have_the_declared_names_and_types():
    steps = rlds_features(3, 2)["steps"].feature
    rows = to_rlds(EPISODES[0])
    assert set(rows) == set(steps)
    for name, values in rows.items():
        assert values.dtype == steps[name].np_dtype, name
        assert values.shape[1:] == steps[name].shape, name


def test_an_episode_without_a_step_is_named(tmp_path):
    rows = {name: values[-1:] for name, values in to_rlds(EPISODES[0]).items()}
    directory = write_data_set(tmp_path, {"random": [{"steps": rows}]}, (3, 2))
    with pytest.raises(DataError, match=f"Cannot read split 'random' of {directory}: episode 0 has no step"):
        list(EpisodeSource(str(directory), "random"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("tfds"), {"random": EPISODES, "expert": EPISODES[:1]}, (3, 2))


@pytest.mark.parametrize(
    ("split", "which"),
    [("random", [0, 1, 2]), ("expert", [0]), ("random+expert", [0, 1, 2, 0]), ("random[:2]", [0, 1])],
)
def test_episodes_come_back_from_shards_in_order(prepared, split, which):
    found = list(EpisodeSource(str(prepared), split))
    assert len(found) == len(which)
    for episode, i in zip(found, which, strict=True):
        assert_same(episode, EPISODES[i])


def test_a_source_reads_any_episode_when_asked(prepared):
    source = EpisodeSource(str(prepared), "random+expert")
    assert len(source) == 4
    for i, which in ((3, 0), (1, 1), (2, 2), (0, 0)):
        assert_same(source[i], EPISODES[which])
    assert [len(e.reward) for e in source] == [4, 3, 1, 4]


def test_a_directory_that_is_no_data_set_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} is not a TFDS data set"):
        list(EpisodeSource(str(tmp_path), "random"))


def test_an_unknown_split_is_named_with_the_known_ones(prepared):
    with pytest.raises(DataError, match=r"split 'medium'.*Splits there: random \(3 episodes\), expert \(1 episodes\)"):
        list(EpisodeSource(str(prepared), "medium"))


def test_a_broken_shard_is_named(prepared, tmp_path):
    for file in prepared.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if "array_record" in file.name else content)
    with pytest.raises(DataError, match=str(tmp_path)):
        list(EpisodeSource(str(tmp_path), "random"))


@pytest.mark.parametrize("propensity", [False, True])
def test_records_of_our_schema_are_what_tfds_decodes(tmp_path, propensity):
    episodes = [e._replace(propensity=e.reward**2 if propensity else None) for e in EPISODES * 20]
    directory = str(write_data_set(tmp_path, {"train": episodes}, rlds_features(3, 2, propensity)))
    source = EpisodeSource(directory, "train")
    assert source._plain
    decoders = {"steps": tfds.decode.SkipDecoding()}
    decoded = tfds.builder_from_directory(directory).as_data_source(split="train", decoders=decoders)
    in_order, one_by_one = list(source), [source[i] for i in range(len(source))]
    for *found, rows in zip(in_order, one_by_one, decoded, strict=True):
        expected = from_rlds(rows["steps"])
        for episode in found:
            assert_same(episode, expected)
            np.testing.assert_array_equal(episode.propensity, expected.propensity)


@pytest.mark.parametrize(
    "changes",
    [
        {"reward": tfds.features.Scalar(dtype=np.float64)},
        {"observation": tfds.features.Tensor(shape=(3,), dtype=np.float64)},
        {"action": tfds.features.Tensor(shape=(2, 1), dtype=np.int32)},
        {"reward": tfds.features.Tensor(shape=(), dtype=np.float32, encoding="zlib")},
        {"observation": tfds.features.Image(shape=(4, 4, 3))},
        {"action": tfds.features.ClassLabel(num_classes=3)},
    ],
)
def test_other_schemas_are_left_to_tfds(changes):
    ours = rlds_features(3, 2)
    assert is_plain(ours)
    assert is_plain(rlds_features(3, 2, propensity=True))
    steps = {name: ours["steps"].feature[name] for name in ours["steps"].feature}
    assert not is_plain(tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps | changes)}))
    assert not is_plain(tfds.features.FeaturesDict({"steps": tfds.features.Dataset({"reward": steps["reward"]})}))
    assert is_plain(tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps | {"note": steps["reward"]})}))


@pytest.mark.parametrize("column", ["reward", "action", "observation", "is_terminal", "propensity"])
def test_columns_of_different_lengths_are_no_episode(column):
    rows = to_rlds(EPISODES[0]._replace(propensity=np.full(4, 0.5, np.float32)))
    example = tf_example_pb2.Example()
    for name, values in (rows | {column: rows[column][1:]}).items():
        feature = example.features.feature[f"steps/{name}"]
        stored = feature.float_list if values.dtype == np.float32 else feature.int64_list
        stored.value.extend((values.ravel() * 1).tolist())
    with pytest.raises(ValueError, match="lengths|reshape"):
        parsed(example.SerializeToString())
