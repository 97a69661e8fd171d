"""A log is read as it was written: what was changed since then is refused before it is trained on."""

import numpy as np
import pytest
from episodes import write_data_set

from configs.log import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.errors import DataError
from spin_jax.record.workdir import Workdir
from spin_jax.stages.make_data import directory_of, load_data, make_data
from spin_jax.types import Episode


def test_choices_are_counted_in_all_splits_of_a_data_set_of_others(tmp_path):
    """0 and 1 in the split train, 0 to 3 in the split test."""

    def episode(choices):
        return Episode(np.zeros((5, 2), np.float32), np.arange(4)[:, None] % choices, np.zeros(4, np.float32), True)

    directory = write_data_set(tmp_path, {"train": [episode(2)] * 4, "test": [episode(4)] * 4}, (2, 1))
    config = get_config("smoke")
    config.data.update(path=str(directory), dir=str(tmp_path))
    run = build(resolve(config))
    assert run.data.level == "train"
    assert set(make_data(run, Workdir(str(tmp_path / "work"), config))["data_returns"]) == {"train", "test"}
    assert load_data(run).spec.cardinalities == (4,)


def test_a_log_that_changed_is_imported_anew_in_the_same_process(tmp_path):
    table, choices = tmp_path / "log.csv", tmp_path / "choices.json"
    config = get_config("smoke")
    config.data.update(path=str(table), dir=str(tmp_path / "data"))
    config.data.columns.choices = str(choices)
    choices.write_text('{"slot_a": 2}')
    found = []
    for rewards in ("0.5", "2.5"):
        table.write_text("episode,x,slot_a,reward\n" + "".join(f"{i // 2},{i},{i % 2},{rewards}\n" for i in range(8)))
        found.append(directory_of(build(resolve(config))))
    choices.write_text('{"slot_a": 3}')
    found.append(directory_of(build(resolve(config))))
    assert len(set(found)) == 3
    assert directory_of(build(resolve(config))) == found[-1]
    assert load_data(build(resolve(config))).spec.cardinalities == (3,)


def test_a_shard_that_was_changed_after_the_import_is_refused(tmp_path):
    table = tmp_path / "log.csv"
    rows = "".join(f"{i // 4},{i / 7},{i % 2},{i % 3},1.5\n" for i in range(40))
    table.write_text("episode,seen,slot_a,slot_b,reward\n" + rows)
    config = get_config("smoke")
    config.data.update(path=str(table), dir=str(tmp_path / "data"))
    run = build(resolve(config))
    assert load_data(run).spec.cardinalities == (2, 3)
    (shard,) = directory_of(run).glob("*.array_record*")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=rf"{shard} is not the file that card_train\.json beside it was made from"):
        load_data(run)
