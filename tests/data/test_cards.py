"""Cards beside shards: kept, read again, never written into a data set that is not ours."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from spin_jax.data.cards import card_path, is_suite_import, read_cards
from spin_jax.data.rlds import rlds_features, to_rlds
from spin_jax.errors import DataError
from spin_jax.types import ActionSpec, Episode

SPEC = ActionSpec((3, 3))


class Pair(tfds.core.GeneratorBasedBuilder):
    """Two splits of two and one episodes of four steps."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=rlds_features(5, 2), disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(2), "test": self._generate_examples(1)}

    def _generate_examples(self, count):
        for i in range(count):
            action = np.array([[0, 1], [1, 2], [2, 0], [2, 2]], np.int32)
            episode = Episode(np.zeros((5, 5), np.float32), action, np.full(4, i, np.float32), terminal=False)
            yield i, {"steps": to_rlds(episode)}


@pytest.fixture
def prepared(tmp_path):
    builder = Pair(data_dir=tmp_path, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return tmp_path / "pair" / "1.0.0"


def test_cards_are_written_once_and_then_read(prepared):
    cards = read_cards(prepared, SPEC, 5, lambda split: {"policy": split}, save=True)
    assert [(name, card["episodes"], card["made_by"]["policy"]) for name, card in cards.items()] == [
        ("train", 2, "train"), ("test", 1, "test"),
    ]  # fmt: skip
    assert cards["train"]["return_mean"] == 2  # (0 + 4) / 2
    changed = json.loads(card_path(prepared, "test").read_text()) | {"return_mean": 17.0}
    card_path(prepared, "test").write_text(json.dumps(changed))
    assert read_cards(prepared, SPEC, 5)["test"]["return_mean"] == 17
    assert read_cards(prepared, SPEC, 5)["train"] == cards["train"]


def test_a_card_that_lies_is_refused_with_the_way_out(prepared):
    cards = read_cards(prepared, SPEC, 5, save=True)
    path = card_path(prepared, "train")
    for lie in ("", "{", json.dumps({}), json.dumps(cards["train"] | {"return_mean": "high"}), "[1]"):
        path.write_text(lie)
        for read in (lambda: read_cards(prepared, SPEC, 5), lambda: is_suite_import(prepared)):
            with pytest.raises(DataError, match=f"{path} is .*delete it: then it is computed anew"):
                read()
    path.unlink()
    assert read_cards(prepared, SPEC, 5) == cards


def test_a_data_set_that_is_not_ours_is_left_as_it_is(prepared):
    before = sorted(path.name for path in prepared.iterdir())
    assert read_cards(prepared, SPEC, 5)["train"]["transitions"] == 8
    assert sorted(path.name for path in prepared.iterdir()) == before


def test_what_the_task_cannot_be_trained_with_is_refused_before_it_is_counted(prepared):
    with pytest.raises(DataError, match="split train: observation of episode 0 has width 5, the task needs 7"):
        read_cards(prepared, SPEC, 7, save=True)
    with pytest.raises(DataError, match=r"split train: action of episode 0, step 1, slot 1 is 2.*choices 0 to 1"):
        read_cards(prepared, ActionSpec((3, 2)), 5, save=True)
    assert not list(prepared.glob("card_*"))


def test_a_tfds_data_set_of_something_else_is_named(tmp_path):
    class Numbers(Pair):
        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"x": np.float32}))

        def _generate_examples(self, count):
            yield 0, {"x": 1.0}

    builder = Numbers(data_dir=tmp_path, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    builder.download_and_prepare()
    with pytest.raises(DataError, match="does not hold RLDS episodes: its steps have no action, is_terminal, obs"):
        read_cards(tmp_path / "numbers" / "1.0.0", SPEC, 5)
