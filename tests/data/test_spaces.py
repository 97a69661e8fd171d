import json

import numpy as np
import pytest

from spin_jax.data.rlds import from_rlds, rlds_features, to_rlds
from spin_jax.data.spaces import read_spaces, write_spaces
from spin_jax.errors import DataError
from spin_jax.types import ActionSpec, Episode, Feature, Spaces, numbered_spaces

SPACES = Spaces(
    features=(Feature("age"), Feature("ward", category="B"), Feature("pulse", item=2)),
    slots=("drug", "dose"),
    choices=(("none", "aspirin"), (0, 10, 20)),
)


def test_spaces_read_back_equal(tmp_path):
    write_spaces(tmp_path, SPACES)
    assert read_spaces(tmp_path) == SPACES
    assert [feature.name for feature in SPACES.features] == ["age", "ward=B", "pulse[2]"]
    assert SPACES.spec == ActionSpec((2, 3))


def test_a_data_set_without_names_has_none(tmp_path):
    assert read_spaces(tmp_path) is None
    assert numbered_spaces(2, ActionSpec((2, 3))).choices == ((0, 1), (0, 1, 2))


@pytest.mark.parametrize(
    "change",
    [
        {"features": []},
        {"slots": ["drug"]},
        {"choices": 3},
        {"choices": "ab"},
        {"slots": [1, 2]},
        {"choices": [[], [1]]},
        {"features": [{"name": "age"}]},
    ],
)
def test_damaged_spaces_are_named(tmp_path, change):
    write_spaces(tmp_path, SPACES)
    path = tmp_path / "spaces.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"spaces\.json (does not hold|is damaged: ).*make it anew"):
        read_spaces(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"spaces\.json is cut off or damaged"):
        read_spaces(tmp_path)


def test_propensities_survive_the_schema():
    rng = np.random.default_rng(0)
    episode = Episode(
        rng.normal(size=(4, 2)).astype(np.float32),
        rng.integers(0, 2, (3, 2)).astype(np.int32),
        rng.normal(size=3).astype(np.float32),
        terminal=True,
        propensity=np.array([0.5, 0.25, 1], np.float32),
    )
    features = rlds_features(2, 2, propensity=True)["steps"].feature
    rows = to_rlds(episode)
    assert set(rows) == set(features)
    np.testing.assert_array_equal(from_rlds(rows).propensity, episode.propensity)
    assert "propensity" not in to_rlds(episode._replace(propensity=None))
