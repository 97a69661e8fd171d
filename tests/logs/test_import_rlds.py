"""An RLDS data set of TFDS is read where it is, if its steps have the form that the package reads."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from episodes import write_data_set

from spin_jax.data.rlds import rlds_features, to_rlds
from spin_jax.errors import DataError
from spin_jax.logs.column_map import BY_USUAL_NAMES, ColumnConfig
from spin_jax.logs.import_table import import_table
from spin_jax.types import Episode


@pytest.mark.parametrize("name", ["reward", "is_terminal"])
def test_an_rlds_data_set_whose_numbers_are_vectors_is_refused(tmp_path, name):
    rows = to_rlds(Episode(np.zeros((3, 2), np.float32), np.zeros((2, 1), int), np.zeros(2), True))
    steps = dict(rlds_features(2, 1)["steps"].feature)
    steps[name] = tfds.features.Tensor(shape=(1,), dtype=steps[name].np_dtype)
    features = tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps)})
    directory = write_data_set(tmp_path, {"train": [{"steps": rows | {name: rows[name][:, None]}}]}, features)
    with pytest.raises(DataError, match=f"its steps have a {name} of shape \\(1,\\), needed one number. Write"):
        import_table(directory, BY_USUAL_NAMES, tmp_path)


@pytest.mark.parametrize("nested", [False, True])
def test_an_rlds_data_set_stays_where_it_is_and_one_of_nested_observations_is_refused(tmp_path, nested):
    rows, features = to_rlds(Episode(np.zeros((3, 2), np.float32), np.zeros((2, 1), int), np.zeros(2), True)), (2, 1)
    if nested:
        camera = {"camera": tfds.features.Tensor(shape=(2,), dtype=np.float32)}
        steps = dict(rlds_features(2, 1)["steps"].feature) | {"observation": camera}
        features = tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps)})
        rows |= {"observation": {"camera": rows["observation"]}}
    directory = write_data_set(tmp_path, {"train": [{"steps": rows}]}, features)
    if nested:
        with pytest.raises(DataError, match="observation that is a dict of camera, needed one vector. Write the steps"):
            import_table(directory, BY_USUAL_NAMES, tmp_path)
        return
    assert import_table(directory, BY_USUAL_NAMES, tmp_path) == directory
    with pytest.raises(DataError, match=f"versions of an RLDS data set. Name the directory of one: {directory}$"):
        import_table(directory.parent, BY_USUAL_NAMES, tmp_path)
    with pytest.raises(DataError, match="config.data.columns.action must be empty"):
        import_table(directory, ColumnConfig(action="a"), tmp_path)
    assert not (tmp_path / "imported_log").exists()
