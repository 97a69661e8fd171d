"""A data set that somebody hands over runs no code and reads nothing outside of its folder."""

import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from episodes import write_data_set

from spin_jax.data.foreign import FEATURES
from spin_jax.data.rlds import open_data_set
from spin_jax.errors import DataError
from spin_jax.types import Episode


@pytest.fixture
def folder(tmp_path):
    """The directory of a data set that opens."""
    episode = Episode(np.zeros((3, 2), np.float32), np.zeros((2, 1), int), np.zeros(2), terminal=False)
    directory = write_data_set(tmp_path, {"train": [episode]}, (2, 1))
    open_data_set(str(directory))
    return directory


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that the module `hostile` writes when it is imported; it can be imported."""
    marker = tmp_path / "marker"
    (tmp_path / "hostile.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).write_text('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    yield marker
    sys.modules.pop("hostile", None)


EVIL = {"pythonClassName": "hostile.Feature", "tensor": {}}
OLD = {"type": "hostile.Feature", "content": {}}
DICT, SEQUENCE = (
    f"tensorflow_datasets.core.features.{name}" for name in ("features_dict.FeaturesDict", "sequence_feature.Sequence")
)
HOSTILE = {
    "at the top": EVIL,
    "by the other spelling": {"python_class_name": "hostile.Feature", "tensor": {}},
    "nested": {"pythonClassName": DICT, "featuresDict": {"features": {"steps": EVIL}}},
    "in a sequence": {"pythonClassName": SEQUENCE, "sequence": {"feature": EVIL}},
    "in a string of JSON": {"pythonClassName": DICT, "jsonFeature": {"json": json.dumps({"steps": OLD})}},
    "in the form of old versions": OLD,
    "nested in that form": {"type": DICT, "content": {"steps": OLD}},
    "as JSON in that form": {
        "type": DICT,
        "proto_cls": "tensorflow_datasets.FeaturesDict",
        "content": " " + json.dumps({"features": {"steps": EVIL}}),
    },
}


@pytest.mark.parametrize("features", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_module_is_imported_that_features_json_names(folder, marker, features):
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(DataError, match=r"features\.json asks for the feature class 'hostile\.Feature'"):
        open_data_set(str(folder))
    assert not marker.exists()
    with pytest.raises(ValueError):  # noqa: PT011  (not this program's)
        tfds.builder_from_directory(folder)
    assert marker.read_text() == "ran"  # this is what would have happened


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[" * 100_000])
def test_what_cannot_be_read_is_not_handed_to_tfds(folder, content):
    (folder / "features.json").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a TFDS data set: features\.json cannot be read"):
        open_data_set(str(folder))


def test_dataset_info_may_hold_features_too(folder, marker):
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"features": EVIL}))
    with pytest.raises(DataError, match=r"dataset_info\.json asks for the feature class 'hostile\.Feature'"):
        open_data_set(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("moduleName", "hostile"), ("configName", "hostile.Config"), ("redistributionInfo", {"license": "hostile"})],
)
def test_nothing_else_that_dataset_info_names_is_imported(folder, marker, field, value):
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    open_data_set(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize("where", ["template", "split", "name"])
def test_shards_outside_of_the_folder_are_not_read(folder, where):
    path = folder / "dataset_info.json"
    facts = json.loads(path.read_text())
    if where == "template":
        facts["splits"][0]["filepathTemplate"] = "../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    elif where == "split":
        facts["splits"][0]["name"] = "/etc/train"
    else:
        facts["name"] = "../small"
    path.write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"names a shard outside of this folder, .*(\.\./|/etc)"):
        open_data_set(str(folder))


def test_every_feature_of_tfds_is_read():
    assert {
        f"tensorflow_datasets.core.features.{name}" for name in ("tensor_feature.Tensor", "feature.Tensor")
    } < FEATURES
    assert {DICT, SEQUENCE} < FEATURES
    assert all(name.startswith("tensorflow_datasets.core.features.") for name in FEATURES)
