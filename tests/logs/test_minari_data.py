"""Minari data sets, written by hand in each layout as Minari 0.5.4 writes them, read back equal without Minari."""

import json

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest

from spin_jax.data.rlds import EpisodeSource
from spin_jax.data.spaces import read_spaces
from spin_jax.errors import DataError
from spin_jax.logs.column_map import BY_USUAL_NAMES
from spin_jax.logs.import_table import import_table
from spin_jax.types import Episode, Feature

BOX = {"type": "Box", "dtype": "float32", "shape": [4], "low": [-1e9] * 4, "high": [1e9] * 4}
MULTI_DISCRETE = {"type": "MultiDiscrete", "dtype": "int64", "nvec": [2, 7, 100], "start": [0, 0, 0]}


def make_episodes(count=12):
    """Odd ones end by a time limit; the largest choices do not occur; ten and more, so that names sort otherwise."""
    rng = np.random.default_rng(0)
    return [
        Episode(
            observation=rng.normal(size=(6 + i, 4)).astype(np.float32),
            action=rng.integers(0, [2, 6, 90], (5 + i, 3)),
            reward=rng.normal(size=5 + i),
            terminal=i % 2 == 0,
        )
        for i in range(count)
    ]


def write_minari(path, episodes, layout="hdf5", action_space=MULTI_DISCRETE, observation_space=BOX):
    """What minari.create_dataset_from_buffers writes for these episodes; returns `path`."""
    data = path / "data"
    data.mkdir(parents=True)
    spaces = {"observation_space": json.dumps(observation_space), "action_space": json.dumps(action_space)}
    (data / "metadata.json").write_text(json.dumps({"data_format": layout, **spaces}))
    for number, episode in enumerate(episodes):
        steps = len(episode.reward)
        end = np.arange(steps) == steps - 1
        arrays = {"observations": episode.observation, "actions": episode.action, "rewards": episode.reward}
        arrays |= {"terminations": end & episode.terminal, "truncations": end & (not episode.terminal)}
        chosen = None if episode.propensity is None else np.concatenate([[np.nan], episode.propensity])
        if layout == "hdf5":
            with h5py.File(data / "main_data.hdf5", "a") as file:
                group = file.create_group(f"episode_{number}")
                group.attrs.update({"id": number, "total_steps": steps})
                for name, values in arrays.items():
                    group.create_dataset(name, data=values)
                if chosen is not None:
                    group.create_group("infos").create_dataset("propensity", data=chosen)
            continue
        columns = {"episode_id": pa.array(np.full(steps + 1, number, np.int32))}
        for name, values in arrays.items():
            padding = [(0, steps + 1 - len(values))] + [(0, 0)] * (values.ndim - 1)
            padded = pa.array(np.pad(values, padding).reshape(-1))
            wide = values.ndim == 2
            columns[name] = pa.FixedSizeListArray.from_arrays(padded, values.shape[1]) if wide else padded
        if chosen is not None:
            columns["infos"] = pa.StructArray.from_arrays([pa.array(chosen)], ["propensity"])
        batch, kind = pa.table(columns), pa.dataset
        kind.write_dataset(
            batch, data, format=layout, partitioning=["episode_id"], existing_data_behavior="overwrite_or_ignore"
        )
        (data / str(number) / "metadata.json").write_text(json.dumps({"id": number, "total_steps": steps}))
    return path


@pytest.mark.parametrize("layout", ["hdf5", "arrow", "parquet"])
def test_propensities_are_read_from_the_infos(tmp_path, layout):
    """They are infos of the state that an action led to: the first one belongs to no action."""
    rng = np.random.default_rng(1)
    logged = [e._replace(propensity=rng.uniform(0.1, 1, len(e.reward)).astype(np.float32)) for e in make_episodes(2)]
    directory = import_table(write_minari(tmp_path / "log-v0", logged, layout), BY_USUAL_NAMES, tmp_path)
    for found, expected in zip(list(EpisodeSource(str(directory), "train")), logged, strict=True):
        np.testing.assert_array_equal(found.propensity, expected.propensity)


@pytest.mark.parametrize("layout", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("lacking", [0, 1])
def test_propensities_of_some_episodes_alone_are_refused(tmp_path, layout, lacking):
    logged = [e._replace(propensity=np.ones(len(e.reward), np.float32)) for e in make_episodes(2)]
    logged[lacking] = logged[lacking]._replace(propensity=None)
    with pytest.raises(DataError, match="of episodes 0 and 1 only one has propensities in its infos"):
        import_table(write_minari(tmp_path / "log-v0", logged, layout), BY_USUAL_NAMES, tmp_path)


@pytest.mark.parametrize("layout", ["hdf5", "arrow", "parquet"])
def test_a_minari_data_set_reads_back_equal(tmp_path, same_episodes, layout):
    """The last observations come along, so a time limit costs nothing; choices are those of the space."""
    episodes = make_episodes()
    path = write_minari(tmp_path / "made" / "log-v0", episodes, layout)
    directory = import_table(path, BY_USUAL_NAMES, tmp_path / "imported")
    expected = [e._replace(reward=e.reward.astype(np.float32)) for e in episodes]
    same_episodes(list(EpisodeSource(str(directory), "train")), expected)
    spaces = read_spaces(directory)
    assert spaces.features == tuple(Feature("observation", i) for i in range(4))
    assert spaces.slots == ("action[0]", "action[1]", "action[2]")
    assert spaces.choices == tuple(tuple(range(k)) for k in (2, 7, 100))
    assert "(minari, 126 rows" in (directory / "understood.txt").read_text()
    assert import_table(path / "data", BY_USUAL_NAMES, tmp_path / "imported").exists()  # the inner directory as well


def test_a_large_log_of_a_ward_comes_in_from_hdf5(tmp_path, ward, same_episodes):
    """The numbers of the choices of the text table, as Minari can only have numbers: 20 000 rows, 800 episodes."""
    table = ward()
    names = ("slot_drug", "slot_dose", "slot_ward")
    action = np.stack([np.unique(table[name], return_inverse=True)[1] for name in names], axis=1)
    numbers = np.stack([table["age"], table["pulse"], table["pressure"], table["pulse"]], axis=1).astype(np.float32)
    episodes = [
        Episode(
            np.concatenate([numbers[i : i + 25], numbers[i : i + 1]]),
            action[i : i + 25],
            table["reward"][i : i + 25],
            True,
        )
        for i in range(0, 20_000, 25)
    ]
    directory = import_table(write_minari(tmp_path / "ward-v0", episodes), BY_USUAL_NAMES, tmp_path)
    expected = [e._replace(reward=e.reward.astype(np.float32)) for e in episodes]
    same_episodes(list(EpisodeSource(str(directory), "train")), expected)


@pytest.mark.parametrize(
    ("space", "action", "choices"),
    [
        ({"type": "Discrete", "n": 3, "start": 1}, lambda a: a[:, 0] + 1, ((1, 2, 3),)),
        ({"type": "MultiBinary", "n": 2}, lambda a: a[:, :2] % 2, ((0, 1), (0, 1))),
        ({"type": "MultiDiscrete", "nvec": [2, 9], "start": [5, -1]}, lambda a: a[:, :2] + [[5, -1]],
         ((5, 6), tuple(range(-1, 8)))),
    ],
)  # fmt: skip
def test_other_discrete_spaces(tmp_path, space, action, choices):
    episodes = [e._replace(action=action(e.action)) for e in make_episodes(2)]
    directory = import_table(write_minari(tmp_path / "log", episodes, action_space=space), BY_USUAL_NAMES, tmp_path)
    assert read_spaces(directory).choices == choices
    found = np.concatenate([e.action for e in list(EpisodeSource(str(directory), "train"))])
    first = np.array([names[0] for names in choices])
    logged = np.concatenate([e.action.reshape(len(e.reward), -1) for e in episodes])
    np.testing.assert_array_equal(found + first[None, :], logged)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action_space": {"type": "Box"}}, "its actions are Box; only MultiDiscrete.*Cut continuous actions"),
        ({"observation_space": {"type": "Dict"}}, "its observations are Dict; only one vector can be read. Flatten"),
        ({"observation_space": BOX | {"shape": [8, 8, 3]}}, r"observations are Box of shape \[8, 8, 3\]"),
        ({"action_space": MULTI_DISCRETE | {"nvec": [2, 7], "start": None}}, "has width 3, needed 2"),
        ({"action_space": MULTI_DISCRETE | {"nvec": [2, 7, 50]}}, r"bad rows.* in action\[2\]; its choices are 0, 1"),
        ({"layout": "zarr"}, "its data_format 'zarr' is unknown; hdf5, arrow and parquet can be read"),
    ],
)
def test_spaces_that_cannot_be_read_are_named(tmp_path, settings, message):
    layout = settings.pop("layout", "hdf5")
    path = write_minari(tmp_path / "log", [] if layout == "zarr" else make_episodes(2), layout, **settings)
    with pytest.raises(DataError, match=f"(?s){message}"):
        import_table(path, BY_USUAL_NAMES, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_damaged_data_sets_are_named(tmp_path):
    path = write_minari(tmp_path / "log", make_episodes(1))
    with h5py.File(path / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0"]["truncations"]
        file["episode_0"].create_dataset("truncations", data=[False])
    with pytest.raises(DataError, match="episode 0 has 5 rewards, but 1 truncations; T steps need T . 1"):
        import_table(path, BY_USUAL_NAMES, tmp_path)
    with h5py.File(path / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0"]["truncations"]
    with pytest.raises(DataError, match="log/data cannot be read as a Minari data set .*truncations"):
        import_table(path, BY_USUAL_NAMES, tmp_path)
    (path / "data" / "main_data.hdf5").write_bytes(b"no hdf5")
    with pytest.raises(DataError, match="log/data cannot be read as a Minari data set"):
        import_table(path, BY_USUAL_NAMES, tmp_path)
    (path / "data" / "metadata.json").write_text('{"data_format": ')
    with pytest.raises(DataError, match="metadata.json cannot be read"):
        import_table(path, BY_USUAL_NAMES, tmp_path)
