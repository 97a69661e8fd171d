"""What stage 2 reads: encodings computed once, a student that is distilled before, nothing where nothing is needed."""

import dataclasses
import hashlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import scaled
from spin_jax.data.stream import TransitionStream
from spin_jax.errors import CheckpointError, ConfigError, DataError, WorkdirError
from spin_jax.frozen import encodings
from spin_jax.frozen.artefact import FrozenASM, asm_like, describe, load_asm, open_store, params_like
from spin_jax.frozen.encodings import encode_log
from spin_jax.policies.cached import CachedConfig, make_cached, unpacked
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.distill import distill
from spin_jax.stages.members import frozen_of, members
from spin_jax.training import loop
from spin_jax.types import ActionSpec, Transition, identity_normaliser, numbered_spaces

SPEC = ActionSpec((3,) * 6)
ROWS = 20


def make_dataset() -> Dataset:
    rng = np.random.default_rng(0)
    s, s_next = rng.normal(size=(2, ROWS, 5)).astype(np.float32)
    action = rng.integers(0, 3, (ROWS, 6)).astype(np.int32)
    train = Transition(s, action, np.zeros(ROWS, np.float32), np.ones(ROWS, np.float32), s_next)
    lengths = np.array([10, 10])
    facts = {"lengths": lengths, "probe_lengths": lengths, "probe_propensity": None, "spaces": numbered_spaces(5, SPEC)}
    return Dataset(SPEC, train, train, "held_out", identity_normaliser(5), "fingerprint", np.zeros(2), **facts)


@pytest.fixture
def prepared(tmp_path):
    """prepared(policy, **overrides) -> (run, workdir, dataset), with a random ASM beside them in tmp_path/asm."""

    def prepare(policy, name="work", **overrides):
        config = get_config("smoke")
        config.policy = policy
        config.update_from_flattened_dict({"asm.path": str(tmp_path / "asm"), **overrides})
        config, dataset = resolve(config), make_dataset()
        run, store = build(config), open_store(tmp_path / "asm")
        if not store.steps():
            rng, like = np.random.default_rng(1), params_like(SPEC, 5, run.asm.model)
            params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), like)
            tree = {"params": params, "normaliser": dataset.normaliser}
            store.save(0, tree, {"describes": describe(run, dataset)})
        return run, Workdir(str(tmp_path / name), config), dataset

    return prepare


@pytest.fixture
def cached(asm_config, monkeypatch):
    """(policy, ASM, log on the device); programs of 8 rows, so that the 20 are two and a rest."""
    monkeypatch.setattr(encodings, "ENCODE_ROWS", 8)
    policy = make_cached(SPEC, asm_config, CachedConfig("asm", 6, 0.0))
    rng, like = np.random.default_rng(1), params_like(SPEC, 5, asm_config)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), like)
    dataset = make_dataset()
    asm = FrozenASM(params, dataset.normaliser, {"describes": {"task": "cheetah_run"}})
    return policy, asm, scaled(dataset.train, dataset.normaliser)


def test_every_row_is_encoded_and_the_next_ones_only_when_asked(cached, tmp_path):
    policy, asm, data = cached
    encode = jax.jit(lambda x: policy.encode(asm.params, x).astype(jnp.bfloat16))
    one = encode_log(policy, asm, data, tmp_path / "a", "log", n_step=0)
    both = encode_log(policy, asm, data, tmp_path / "b", "log", n_step=1)
    assert one.next_x is None
    assert len(list((tmp_path / "a").glob("*.npy"))) == 1
    assert len(list((tmp_path / "b").glob("*.npy"))) == 2
    for found, x in (
        (one.x, data.observation),
        (both.x, data.observation),
        (both.next_x, data.next_observation),
    ):
        assert (found.shape, found.dtype) == ((ROWS, 6, 8), jnp.uint16)
        np.testing.assert_allclose(unpacked(found), encode(x).astype(jnp.float32), rtol=1e-2, atol=1e-2)
    jax.tree.map(np.testing.assert_array_equal, one._replace(x=None), data)


def test_the_second_call_reads_the_file(cached, tmp_path):
    """Seen by what is read: zeros that were written over the file."""
    policy, asm, data = cached
    encode_log(policy, asm, data, tmp_path, "log", n_step=0)
    (path,) = tmp_path.glob("*.npy")
    np.save(path, np.zeros((ROWS, 6, 8), np.uint16))
    facts = json.loads(path.with_suffix(".json").read_text())
    facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(facts))
    assert (encode_log(policy, asm, data, tmp_path, "log", n_step=0).x == 0).all()


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "no checksum", "checksum cut"])
def test_a_damaged_file_is_computed_anew_and_that_is_said(cached, tmp_path, monkeypatch, caplog, damage):
    policy, asm, data = cached
    x = np.array(encode_log(policy, asm, data, tmp_path, "log", n_step=1).next_x)
    (path,) = tmp_path.glob("*.1.npy")
    whole, record = path.read_bytes(), path.with_suffix(".json")
    flipped = bytearray(whole)
    flipped[-100] ^= 4
    path.write_bytes({"flipped": flipped, "short": whole[:-100], "empty": b""}.get(damage, whole))
    if "checksum" in damage:
        record.write_text("" if damage == "checksum cut" else json.dumps({"what": "of an older version"}))
    monkeypatch.setattr(log, "propagate", True)
    for said in (True, False):
        caplog.clear()
        np.testing.assert_array_equal(encode_log(policy, asm, data, tmp_path, "log", n_step=1).next_x, x)
        assert (f"{path} has no checksum or another one" in caplog.text) is said
    assert path.read_bytes() == whole


def test_next_states_of_other_steps_are_another_file(cached, tmp_path):
    policy, asm, data = cached
    near = encode_log(policy, asm, data, tmp_path, "log", n_step=1).next_x
    later = data._replace(next_observation=data.next_observation[::-1])
    far = encode_log(policy, asm, later, tmp_path, "log", n_step=3).next_x
    np.testing.assert_array_equal(far, near[::-1])
    np.testing.assert_array_equal(encode_log(policy, asm, data, tmp_path, "log", n_step=1).next_x, near)


def test_without_a_folder_to_write_to_the_encodings_are_computed_and_not_kept(cached, tmp_path, monkeypatch):
    policy, asm, data = cached
    told = []
    monkeypatch.setattr(encodings.log, "info", told.append)
    kept = encode_log(policy, asm, data, tmp_path / "a", "log", n_step=1)
    told.clear()
    (tmp_path / "file").write_text("no folder")
    again = encode_log(policy, asm, data, tmp_path / "file" / "encodings", "log", n_step=1)
    for name in ("x", "next_x"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
    assert [line for line in told if "cannot be written (Not a directory)" in line]
    assert (tmp_path / "file").read_text() == "no folder"
    assert not list((tmp_path / "a").glob(".*"))


def test_other_rows_of_one_log_have_their_own_encodings(cached, tmp_path):
    """Runs that hold other episodes out share an ASM and a fingerprint."""
    policy, asm, data = cached
    encode_log(policy, asm, data, tmp_path, "log", n_step=0)
    fewer = jax.tree.map(lambda column: column[:10], data)
    assert encode_log(policy, asm, fewer, tmp_path, "log", n_step=0).x.shape[0] == 10
    shuffled = jax.tree.map(lambda column: column[::-1], data)
    found = encode_log(policy, asm, shuffled, tmp_path, "log", n_step=0).x
    np.testing.assert_array_equal(found, encode_log(policy, asm, data, tmp_path, "log", n_step=0).x[::-1])


def test_encodings_of_another_precision_are_another_file(cached, asm_config, tmp_path):
    policy, asm, data = cached
    half = dataclasses.replace(asm_config, body=dataclasses.replace(asm_config.body, dtype="bfloat16"))
    for each in (policy, make_cached(SPEC, half, CachedConfig("asm", 6, 0.0))):
        encode_log(each, asm, data, tmp_path, "log", n_step=0)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_whatever_changes_the_encodings_makes_another_file(cached, tmp_path):
    policy, asm, data = cached
    other_params = jax.tree.map(lambda p: p + 0.1, asm.params)
    other_scale = asm.normaliser._replace(std=2 * asm.normaliser.std)
    for changed, fingerprint in (
        (asm, "log"),
        (asm, "another log"),
        (asm._replace(params=other_params), "log"),
        (asm._replace(normaliser=other_scale), "log"),
        (asm._replace(record={"describes": {"architecture": "another number of heads"}}), "log"),
    ):
        before = set(tmp_path.glob("*.npy"))
        encode_log(policy, changed, data, tmp_path, fingerprint, n_step=0)
        assert len(set(tmp_path.glob("*.npy")) - before) == 1


@pytest.mark.parametrize("with_next", [False, True])
def test_what_would_not_fit_is_refused_with_the_sizes(cached, tmp_path, monkeypatch, with_next):
    """2e8 transitions of 6 * 8 numbers in bfloat16: 19.2 GB, twice that with s'; nothing is computed to find out."""
    policy, asm, data = cached
    many = jax.ShapeDtypeStruct((200_000_000, 5), jnp.float32)
    monkeypatch.setattr(encodings, "free_memory", lambda: {"host": 10**12, "accelerator": 8 * 10**9})
    size = "38.4" if with_next else "19.2"
    with pytest.raises(DataError, match=f"takes {size} GB of the accelerator, where 8.0 GB are free.*spin_warm"):
        encode_log(policy, asm, data._replace(observation=many), tmp_path, "log", with_next)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="GB of the accelerator"):
        encode_log(policy, asm, data._replace(observation=many), tmp_path, "log", with_next, devices=2)
    need = (4 if with_next else 2) * ROWS * 6 * 8
    monkeypatch.setattr(encodings, "free_memory", lambda: {"host": 1, "accelerator": need // 2})
    assert encode_log(policy, asm, data, tmp_path / "two", "log", with_next, devices=2).x is not None
    for free in ({"host": need}, {}):  # just enough, and nothing known
        monkeypatch.setattr(encodings, "free_memory", lambda free=free: free)
        assert encode_log(policy, asm, data, tmp_path, "log", with_next).x is not None


def test_a_stream_is_refused_and_a_policy_that_reads_observations_is_left_alone(cached, tmp_path):
    policy, asm, data = cached
    stream = TransitionStream([], np.arange(2), np.array([9, 9]), 1, asm.normaliser)
    with pytest.raises(ConfigError, match="data.mode='memory'"):
        encode_log(policy, asm, stream, tmp_path, "log", n_step=0)
    plain = make_factored(SPEC, None, FactoredConfig(8, 0.0))
    for each in (data, stream):
        assert encode_log(plain, asm, each, tmp_path, "log", n_step=1) is each
    assert not list(tmp_path.iterdir())


def load(run, workdir, dataset):
    """The frozen arrays of a run of one seed."""
    (found,) = frozen_of(members(run, workdir), dataset)
    return found


def test_a_student_of_another_asm_is_refused(prepared, tmp_path):
    run, workdir, dataset = prepared("spin_distill", "taught", **{"spin_distill.steps": 2})
    distill(run, workdir, dataset)
    taught = load(run, workdir, dataset)
    shutil.rmtree(tmp_path / "asm")
    tree = {"params": jax.tree.map(lambda x: x + 1, taught.params["asm"]), "normaliser": taught.normaliser}
    open_store(tmp_path / "asm").save(0, tree, {"describes": describe(run, dataset)})
    with pytest.raises(WorkdirError, match="taught/distill was trained on another ASM: then .* now "):
        load(run, workdir, dataset)


class Killed(Exception):
    pass


def test_a_killed_distillation_resumes_to_the_same_student_bit_for_bit(prepared, monkeypatch):
    overrides = {"spin_distill.steps": 6, "train.checkpoint_every_steps": 2}
    run, workdir, dataset = prepared("spin_distill", "whole", **overrides)
    assert distill(run, workdir, dataset)["steps"] == 6
    whole = load(run, workdir, dataset)
    assert whole.params.keys() == {"asm", "student"}

    run, workdir, dataset = prepared("spin_distill", "cut", **overrides)
    with pytest.raises(CheckpointError, match="cut/distill holds no distilled student: run --stage=distill first"):
        load(run, workdir, dataset)

    def save(self, step, *args, save=CheckpointStore.save):
        if step == 6:
            raise Killed
        save(self, step, *args)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "save", save)
        with pytest.raises(Killed):
            distill(run, workdir, dataset)
    assert CheckpointStore(workdir.path / "distill" / "state").steps() == [4]
    with pytest.raises(CheckpointError, match="a student that is distilled to step 4 of 6: run --stage=distill first"):
        load(run, workdir, dataset)
    distill(run, workdir, dataset)
    jax.tree.map(np.testing.assert_array_equal, load(run, workdir, dataset).params, whole.params)


def test_a_distilled_student_is_not_trained_again(prepared, monkeypatch):
    run, workdir, dataset = prepared("spin_distill", **{"spin_distill.steps": 2, "train.checkpoint_every_steps": 2})
    distill(run, workdir, dataset)
    first = load(run, workdir, dataset)
    monkeypatch.setattr(loop, "fit", lambda *_, **__: pytest.fail("trained again"))
    distill(run, workdir, dataset)
    jax.tree.map(np.testing.assert_array_equal, first, load(run, workdir, dataset))


def test_an_asm_that_hardly_saw_all_slots_masked_is_refused_where_it_is_asked_about_them(prepared, tmp_path):
    run, _, dataset = prepared("spin_decode")
    store = open_store(tmp_path / "asm")
    tree = store.restore(asm_like(SPEC, 5, run.asm.model), 0)
    store.save(0, tree, store.record(0) | {"masking": "fixed"})
    with pytest.raises(CheckpointError, match="was masked fixed, and policy spin_decode asks .*asm.masking=fixed"):
        load_asm(tmp_path / "asm", 0, run, dataset)
    for policy, fields in (("spin", {}), ("spin_decode", {"asm.masking": "fixed"})):
        run, _, _ = prepared(policy, **fields)
        assert load_asm(tmp_path / "asm", 0, run, dataset).record["masking"] == "fixed"


def test_policies_that_read_no_asm_need_none(prepared, tmp_path):
    run, workdir, dataset = prepared("factored")
    run = dataclasses.replace(run, asm=dataclasses.replace(run.asm, path=str(tmp_path / "nowhere")))
    found = load(run, workdir, dataset)
    assert found.params == ()
    assert found.normaliser is dataset.normaliser
    assert not workdir.path.exists()
    run, workdir, dataset = prepared("spin_warm", **{"asm.path": str(tmp_path / "nowhere")})
    with pytest.raises(CheckpointError, match="No pre-trained ASM in .*nowhere"):
        load(run, workdir, dataset)
