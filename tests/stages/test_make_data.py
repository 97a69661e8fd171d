"""A log is read as it was written: what was changed since then is refused before it is trained on."""

import pytest

from configs.log import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.errors import DataError
from spin_jax.stages.make_data import directory_of, load_data


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
