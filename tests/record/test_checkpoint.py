"""Checkpoints come back to the bit, and whatever differs or is damaged is refused by name."""

import json
import os
import pathlib
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.errors import CheckpointError
from spin_jax.record import checkpoint
from spin_jax.record.checkpoint import CheckpointStore, flatten
from spin_jax.record.processes import Preempted, ended_by_sigterm
from spin_jax.types import Normaliser


@pytest.fixture
def tree():
    """Every dtype that states hold, in dicts, NamedTuples and lists, with values that rounding would change."""
    third = jax.random.normal(jax.random.key(0), (3, 4)) / 3
    return {
        "params": {"kernel": third, "half": third.astype(jnp.bfloat16)},
        "more": [Normaliser(jnp.arange(5), jnp.float32(1e-30), jnp.array([jnp.inf, -0.0]))],
        "step": jnp.int32(2**31 - 1),
    }


@pytest.fixture
def saved(tree, tmp_path):
    CheckpointStore(tmp_path / "store").save(7, tree, {"a": [1, "two"]})
    return tmp_path / "store"


def test_arrays_and_record_come_back_bit_for_bit(tree, saved):
    like = jax.eval_shape(lambda: jax.tree.map(jnp.zeros_like, tree))
    restored = CheckpointStore(saved).restore(like)
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    for found, expected in zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True):
        assert found.dtype == expected.dtype
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
    assert CheckpointStore(saved).record() == {"a": [1, "two"]}


def test_names_are_slash_joined_paths(tree):
    assert sorted(flatten(tree)) == [
        "more/0/clip",
        "more/0/mean",
        "more/0/std",
        "params/half",
        "params/kernel",
        "step",
    ]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t["params"].update(kernel=jnp.zeros((3, 5))), ["shape", "'params/kernel'", "(3, 4)", "(3, 5)"]),
        (lambda t: t["params"].update(kernel=jnp.zeros(12)), ["shape", "'params/kernel'", "(3, 4)", "(12,)"]),
        (lambda t: t.update(step=jnp.float32(0)), ["dtype", "'step'", "int32", "float32"]),
        (
            lambda t: t["params"].update(half=jnp.zeros((3, 4), jnp.float16)),
            ["dtype", "'params/half'", "bfloat16", "float16"],
        ),
        (lambda t: t["params"].pop("half"), ["'params/half'", "only in the checkpoint"]),
        (lambda t: t.update(new=jnp.zeros(2)), ["'new'", "only in this run"]),
    ],
)
def test_every_difference_is_refused_by_name_with_both_values(tree, saved, change, parts):
    change(tree)
    with pytest.raises(CheckpointError) as caught:
        CheckpointStore(saved).restore(tree)
    for part in (str(saved / "7"), *parts):
        assert part in str(caught.value)


def data_files(step: pathlib.Path) -> list[pathlib.Path]:
    """The files that hold numbers, largest first."""
    return sorted((f for f in step.rglob("*") if f.is_file() and "/d/" in str(f)), key=lambda f: -f.stat().st_size)


@pytest.mark.parametrize(
    "damage",
    [
        lambda step: [f.unlink() for f in data_files(step)],
        lambda step: [f.write_bytes(f.read_bytes()[: f.stat().st_size // 2]) for f in data_files(step)],
        lambda step: (step / "arrays" / "_METADATA").unlink(),
        lambda step: (step / "arrays" / "manifest.ocdbt").unlink(),
        lambda step: (step / "arrays" / "manifest.ocdbt").write_bytes(b""),
        lambda step: [f.unlink() for f in (step / "arrays").rglob("*") if f.is_file()],
    ],
    ids=["no data", "data cut short", "no metadata", "no manifest", "empty manifest", "empty directory"],
)
def test_damaged_arrays_are_an_error_that_names_the_path(tmp_path, damage):
    tree = {f"kernel_{i}": jax.random.normal(jax.random.key(i), (300, 100)) for i in range(9)}
    CheckpointStore(tmp_path).save(7, tree, {})
    assert data_files(tmp_path / "7")
    damage(tmp_path / "7")
    with pytest.raises(CheckpointError, match=f"{tmp_path / '7'} is damaged or incomplete"):
        CheckpointStore(tmp_path).restore(tree)


def test_orbax_is_given_no_damaged_arrays(saved, tree, monkeypatch):
    """Its threads would print a traceback for every array that was being read when it gave up."""
    monkeypatch.setattr(CheckpointStore, "_manager", lambda store: pytest.fail("Orbax reads"))
    monkeypatch.setattr(CheckpointStore, "_resolve", lambda store, step: 7)
    manifest = saved / "7" / "arrays" / "manifest.ocdbt"
    whole = manifest.read_bytes()
    for damage in (whole[: len(whole) // 2], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], None):
        manifest.unlink() if damage is None else manifest.write_bytes(damage)
        with pytest.raises(CheckpointError, match=f"{saved / '7'} is damaged or incomplete"):
            CheckpointStore(saved).restore(tree)
    manifest.write_bytes(whole)
    for file in data_files(saved / "7"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{saved / '7'} is damaged or incomplete"):
        CheckpointStore(saved).restore(tree)


@pytest.mark.parametrize("text", [None, "{"])
def test_a_damaged_record_is_an_error_that_names_the_path(saved, text):
    record = saved / "7" / "record" / "metadata"
    record.unlink() if text is None else record.write_text(text)
    with pytest.raises(CheckpointError, match=f"{saved / '7'} is damaged"):
        CheckpointStore(saved).record()


def test_a_record_that_was_changed_is_refused_and_one_without_a_checksum_is_read(saved):
    record = saved / "7" / "record" / "metadata"
    text = record.read_text()
    record.write_text(text.replace('"two"', '"too"'))
    with pytest.raises(CheckpointError, match=f"{saved / '7'} is damaged .*record does not match its SHA-256"):
        CheckpointStore(saved).record()
    stored = json.loads(text)
    del stored["record_sha256"]
    record.write_text(json.dumps(stored))
    assert CheckpointStore(saved).record() == {"a": [1, "two"]}


def test_a_record_has_the_same_checksum_after_it_was_read(tree, tmp_path):
    """Numbers that are hard to write, tuples, keys that are no texts."""
    store = CheckpointStore(tmp_path)
    store.save(1, tree, {"a": 0.1 + 0.2, "b": (1, float("inf")), 3: [], "c": {"é": None, "nan": 1e-300}})
    assert CheckpointStore(tmp_path).record()["b"] == [1, float("inf")]


def test_reading_a_missing_directory_is_an_error_and_creates_nothing(tree, tmp_path):
    store = CheckpointStore(tmp_path / "nowhere")
    assert store.steps() == []
    for read in (store.record, lambda: store.restore(tree), lambda: store.restore(tree, 3)):
        with pytest.raises(CheckpointError, match="No checkpoint in .*nowhere"):
            read()
    assert list(tmp_path.iterdir()) == []


def test_reading_changes_no_file(tree, saved):
    def listing():
        return {f: f.stat().st_mtime_ns for f in saved.rglob("*")}

    before, store = listing(), CheckpointStore(saved)
    assert store.steps() == [7]
    store.record()
    store.restore(tree)
    assert listing() == before


def test_only_the_latest_are_kept_and_an_unknown_step_is_refused(tree, tmp_path):
    store, everything = CheckpointStore(tmp_path / "a", keep=2), CheckpointStore(tmp_path / "b", keep=None)
    for step in (0, 5, 10):
        store.save(step, tree, {"step": step})
        everything.save(step, tree, {"step": step})
    assert store.steps() == CheckpointStore(tmp_path / "a").steps() == [5, 10]
    assert everything.steps() == [0, 5, 10]
    assert everything.record()["step"] == 10
    assert everything.record(5)["step"] == 5
    with pytest.raises(CheckpointError, match=r"holds no step 0; saved steps: \[5, 10\]"):
        store.restore(tree, 0)


def test_what_a_killed_process_left_is_removed(tree, tmp_path):
    """A checkpoint that was to be deleted, half of one, half a save; a whole one that is kept stays."""
    everything = CheckpointStore(tmp_path, keep=None)
    for step in (5, 10, 100):
        everything.save(step, tree, {})
    shutil.rmtree(tmp_path / "5" / "arrays")
    (tmp_path / "110.orbax-checkpoint-tmp-3").mkdir()
    CheckpointStore(tmp_path, keep=None).tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "100", "5"]
    store = CheckpointStore(tmp_path, keep=1)
    store.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["100"]
    store.restore(tree)
    CheckpointStore(tmp_path / "nowhere").tidy()
    assert not (tmp_path / "nowhere").exists()


def test_saving_a_step_again_replaces_it(tree, saved):
    store = CheckpointStore(saved)
    store.save(7, {**tree, "step": jnp.int32(1)}, {"again": True})
    assert int(store.restore(tree)["step"]) == 1
    assert store.record() == {"again": True}


def test_sigterm_while_a_checkpoint_is_read_is_no_damage(saved, tree, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(checkpoint, "_read_all", lambda directory: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted, match="The same command goes on"), ended_by_sigterm():
        CheckpointStore(saved).restore(tree)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_noticed_before_anything_is_begun(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path / "state")
    store.save(1, {"x": np.zeros(4, np.float32)}, {})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))
    with pytest.raises(OSError, match="No space left on device.*state"):
        store.save(2, {"x": np.zeros(250_000, np.float32)}, {})  # 1 MB, and 1 MiB beside it
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["1"]
    store.save(2, {"x": np.zeros(200_000, np.float32)}, {})
    assert store.steps() == [2]
