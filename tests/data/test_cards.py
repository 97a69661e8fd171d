"""Cards beside shards: kept, read again, never written into a data set that is not ours."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from episodes import write_data_set

from spin_jax.data.cards import card_path, check_shards, is_suite_import, read_cards
from spin_jax.errors import DataError
from spin_jax.types import ActionSpec, Episode

SPEC = ActionSpec((3, 3))


def episode(reward):
    action = np.array([[0, 1], [1, 2], [2, 0], [2, 2]], np.int32)
    return Episode(np.zeros((5, 5), np.float32), action, np.full(4, reward, np.float32), terminal=False)


@pytest.fixture
def prepared(tmp_path):
    """Two splits of two and one episodes of four steps."""
    return write_data_set(tmp_path, {"train": [episode(0), episode(1)], "test": [episode(0)]}, (5, 2))


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


@pytest.mark.parametrize("expression", ["train", "train+test", "test[:1]+train[:1]"])
def test_a_shard_of_another_split_is_refused_where_it_is_read(prepared, expression):
    """Also where only a part of the split is read."""
    read_cards(prepared, SPEC, 5, save=True)
    train, test = (next(prepared.glob(f"*-{split}.array_record*")) for split in ("train", "test"))
    check_shards(prepared, expression)
    train.write_bytes(test.read_bytes())
    with pytest.raises(
        DataError, match=rf"{train} is not the file that card_train\.json beside it was made from.*Restore"
    ):
        check_shards(prepared, expression)
    check_shards(prepared, "test")


def test_a_flipped_byte_is_refused_and_a_card_of_another_split_does_not_help(prepared):
    read_cards(prepared, SPEC, 5, save=True)
    shard = next(prepared.glob("*-test.array_record*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="SHA-256 .*, there "):
        check_shards(prepared, "test")
    shard.write_bytes(next(prepared.glob("*-train.array_record*")).read_bytes())
    card_path(prepared, "test").write_text(card_path(prepared, "train").read_text())
    with pytest.raises(DataError, match="there nothing"):
        check_shards(prepared, "test")


def test_splits_without_a_card_and_with_one_of_an_older_version_pass(prepared):
    check_shards(prepared, "train+test")
    card = read_cards(prepared, SPEC, 5)["train"]
    del card["shards"]
    card_path(prepared, "train").write_text(json.dumps(card))
    check_shards(prepared, "train+test")


def test_a_tfds_data_set_of_something_else_is_named(tmp_path):
    directory = write_data_set(tmp_path, {"train": [{"x": 1.0}]}, tfds.features.FeaturesDict({"x": np.float32}))
    with pytest.raises(DataError, match="does not hold RLDS episodes: its steps have no action, is_terminal, obs"):
        read_cards(directory, SPEC, 5)
