"""A workdir is loaded without its log: what stage 2 leaves there is enough."""

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import spin_jax
from spin_jax.config.build import build
from spin_jax.data.dataset import Dataset
from spin_jax.errors import CheckpointError, ConfigError, ExportError, WorkdirError
from spin_jax.export.trained import load_trained
from spin_jax.export.write import export_policy
from spin_jax.frozen.artefact import FrozenASM, describe, open_store
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.workdir import Workdir
from spin_jax.stages.interface import NUM_ROWS, write_interfaces
from spin_jax.stages.members import members
from spin_jax.types import Transition


@pytest.fixture
def make_workdir(make_trained, make_config, tmp_path, rows):
    """make_workdir(policy, num_seeds=1) -> (workdir, trained), as stage 2 leaves it at step 7, but without the log.

    The first seed has the policy `trained`; that of each other has other parameters.
    """

    def make(name, num_seeds=1, **changes):
        trained, config = make_trained(name), make_config(name, "iql", num_seeds=num_seeds, **changes)
        run, workdir, facts = build(config), Workdir(str(tmp_path / "work"), config), trained.interface
        many = np.concatenate([rows] * 5)
        log = Transition(many, np.zeros((len(many), 3), int), *[np.zeros(len(many), np.float32)] * 2, many)
        lengths = np.array([len(many)])
        about = facts.normaliser, facts.fingerprint, np.zeros(1), lengths, lengths, None, facts.spaces
        dataset = Dataset(facts.spec, log, log, "held_out", *about)
        if trained.frozen:
            tree = {"params": trained.frozen, "normaliser": facts.normaliser}
            open_store(workdir.asm).save(0, tree, {"describes": describe(run, dataset)})
        team = members(run, workdir)
        write_interfaces(team, [FrozenASM(trained.frozen, facts.normaliser, {})] * num_seeds, dataset, False)
        for i, member in enumerate(team):
            policy = jax.tree.map(lambda x, sign=(-1) ** i: sign * x, trained.state.policy)
            CheckpointStore(member.state("policy")).save(7, trained.state._replace(policy=policy), {})
        return workdir.path, trained

    return make


def test_a_workdir_plays_what_its_policy_plays(make_workdir, played):
    """The policy reads an ASM, which is compared with the record of the log and not with the log.

    Whatever its precision in training, it plays in float32, as `played` does.
    """
    path, trained = make_workdir("spin_cached", precision="bfloat16")
    policy = spin_jax.load(path)
    assert load_trained(path).run.asm.model.body.dtype is None
    np.testing.assert_array_equal(policy.act(trained.rows), played(trained, None))
    assert policy.spaces == trained.interface.spaces
    assert (policy.header["step"], policy.header["policy"]) == (7, "spin_cached")
    found = policy.probabilities(trained.rows)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), policy.act(trained.rows))
    assert np.load(path / "policy" / "rows.npy").shape == (NUM_ROWS, 5)


def test_names_that_were_corrected_in_the_log_are_those_of_a_run_that_resumes(make_workdir):
    path, trained = make_workdir("factored")
    facts, file = trained.interface, path / "policy" / "interface.json"
    before = json.loads(file.read_text())
    team = [SimpleNamespace(workdir=SimpleNamespace(stage=lambda name: path / name))]
    log = SimpleNamespace(observation=trained.rows)

    def resume(spaces):
        dataset = SimpleNamespace(spaces=spaces, probe=log, fingerprint="of another time")
        write_interfaces(team, [FrozenASM((), facts.normaliser, {})], dataset, resumed=True)
        return json.loads(file.read_text())

    assert resume(facts.spaces) == before
    renamed = facts.spaces._replace(slots=("a", "b", "c"))
    assert resume(renamed) == before | {"slots": ["a", "b", "c"]}
    assert spin_jax.load(path).spaces == renamed
    file.write_text("{")
    with pytest.raises(json.JSONDecodeError):  # it is left as it is, for who reads it
        resume(facts.spaces)


def test_of_several_seeds_one_is_chosen(make_workdir, played):
    path, trained = make_workdir("factored", num_seeds=2)
    first, second = (spin_jax.load(path, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.act(trained.rows), played(trained, None))
    actions = second.act(trained.rows)
    assert (actions != first.act(trained.rows)).any()
    np.testing.assert_array_equal(spin_jax.load(path / "seed_1").act(trained.rows), actions)
    for seed, message in ((None, "has several seeds"), (5, "has no seed 5")):
        with pytest.raises(ConfigError, match=f"{message}: choose one with seed=0 or 1"):
            spin_jax.load(path, seed=seed)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_what_is_missing_or_damaged_is_named(make_workdir, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(WorkdirError, match="is not the workdir of a run"):
        spin_jax.load(tmp_path / "other")
    path, _ = make_workdir("factored")
    about, saved = path / "policy" / "interface.json", path / "policy" / "state"
    kept = about.read_text()
    lies = {
        json.dumps(json.loads(kept) | {"slots": ["drug"]}): "does not hold features, slots",
        kept[:50]: "is cut off or damaged",
        json.dumps(
            json.loads(kept) | {"normaliser": {"mean": [0], "std": [1], "clip": None}}
        ): "its normaliser has not",
        json.dumps(json.loads(kept) | {"fingerprint": None}): "fingerprint is null, not a text",
    }
    for text, message in lies.items():
        about.write_text(text)
        with pytest.raises(CheckpointError, match=rf"interface\.json .*{message}.*(Restore it from a copy)"):
            spin_jax.load(path)
    rows = path / "policy" / "rows.npy"
    about.write_text(kept)
    good = rows.read_bytes()
    for lie in (
        b"",
        good[:200],
        _npy(np.zeros((2, 9), np.float32)),
        _npy(np.zeros((2, 5))),
        _npy(np.full((2, 5), np.nan, np.float32)),
    ):
        rows.write_bytes(lie)
        with pytest.raises(CheckpointError, match=r"rows\.npy is damaged and cannot be read .*Restore it from a copy"):
            spin_jax.load(path)
    rows.write_bytes(good)
    about.unlink()
    with pytest.raises(CheckpointError, match=r"No trained policy in .*interface\.json is missing"):
        spin_jax.load(path)
    about.write_text(kept)
    saved.rename(path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"No trained policy in .*run --stage=policy first"):
        spin_jax.load(path)


def test_an_export_is_compared_with_the_rows_of_the_log_and_replaces_nothing(make_workdir, tmp_path):
    path, trained = make_workdir("factored")
    out = tmp_path / "policy.npz"
    assert export_policy(path, out, "numpy") == {"rows": NUM_ROWS, "ties": 0}
    np.testing.assert_array_equal(spin_jax.load(out).act(trained.rows), spin_jax.load(path).act(trained.rows))
    for place, message in ((out, r"policy\.npz exists"), (tmp_path / "no" / "file", "there is no directory")):
        with pytest.raises(ExportError, match=message):
            export_policy(path, place, "numpy")
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
def test_the_command_writes_a_file_and_ends_in_one_line_if_it_cannot(make_workdir, tmp_path):
    path, _ = make_workdir("factored")
    command = [
        sys.executable,
        "-m",
        "spin_jax.export",
        f"--workdir={path}",
        f"--out={tmp_path / 'a'}",
        "--format=numpy",
    ]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done, again = (subprocess.run(command, capture_output=True, text=True, env=environment) for _ in range(2))
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'a'} (numpy, 0.0 MB) acts as the policy in 1000 rows of its log" in done.stderr
    assert again.returncode == 1
    lines = again.stderr.strip().splitlines()
    assert lines == [f"error: --out={tmp_path / 'a'} exists: choose another file, or delete it."]
