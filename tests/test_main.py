"""The program as a user starts it: `python main.py` in a process of its own, preset smoke."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from smoke_runs import ROOT, arrays, start

from configs.cheetah_run import get_config
from spin_jax import run as main
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.data.rlds import EpisodeSource, rlds_features, to_rlds
from spin_jax.errors import CheckpointError, ConfigError, DataError, UserError, WorkdirError
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.lock import locked
from spin_jax.record.workdir import flat
from spin_jax.stages import STAGES
from spin_jax.stages.make_data import load_data
from spin_jax.stages.off_policy import logs

pytestmark = pytest.mark.slow


def run_here(workdir, data, stage, overrides):
    """The same in this process (importing JAX once is enough for a dozen error messages)."""
    config = get_config("smoke")
    config.update_from_flattened_dict({"data.dir": str(data), **overrides})
    return main.run(config, str(workdir), STAGES if stage == "all" else (stage,))


def snapshot(path: pathlib.Path) -> dict:
    return {str(p.relative_to(path)): p.stat().st_mtime_ns for p in sorted(path.rglob("*"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, data directory, standard output, standard error) of one whole smoke run."""
    root = tmp_path_factory.mktemp("run")
    code, out, error = start(root / "work", root / "data")
    assert code == 0, error
    return root / "work", root / "data", out, error


def test_smoke_writes_everything_it_promises(finished):
    workdir, _, out, _ = finished
    results = json.loads((workdir / "results.json").read_text())
    assert results["task"] == "cheetah_run"
    assert results["policy"] == "spin_warm"
    assert results["seeds"] == [0]
    assert set(results["data_returns"]) == {"random", "medium", "expert"}
    assert set(results["seconds"]) == {"data", "pretrain", "distill", "policy", "evaluate"}
    assert results["seconds"]["distill"] is None
    assert results["return_ci95"][0] <= results["return_mean"] <= results["return_ci95"][1]
    low, high = results["reference_returns"]["random"], results["reference_returns"]["expert"]
    assert results["normalised_mean"] == pytest.approx((results["return_mean"] - low) / (high - low))
    assert results["updates_per_second"] > 0
    assert (workdir / "curves.png").read_bytes()[:4] == b"\x89PNG"
    for line in out.split("written:\n")[1].splitlines():
        assert pathlib.Path(line.strip()).exists()
    assert CheckpointStore(workdir / "asm").steps() == [0, 1, 2]
    assert list((workdir / "policy" / "tensorboard").glob("events*"))


def test_a_run_of_few_steps_says_nothing_of_its_time(finished):
    assert "estimate" not in finished[3]


def test_how_long_it_will_take_is_said_before_the_log_is_rolled_out(tmp_path, monkeypatch):
    order = []

    def make(*_):
        order.append("data")
        raise UserError("that is enough")

    monkeypatch.setattr("spin_jax.stages.estimate.announce", lambda *_: order.append("estimate"))
    monkeypatch.setattr("spin_jax.stages.make_data.make_data", make)
    with pytest.raises(UserError, match="that is enough"):
        run_here(tmp_path / "work", tmp_path / "data", "all", {})
    assert order == ["estimate", "data"]


def test_decisions_are_recorded_not_autos(finished):
    recorded = json.loads((finished[0] / "config.json").read_text())
    assert "auto" not in flat(recorded).values()
    assert (recorded["precision"], recorded["asm"]["masking"], recorded["iql"]["extract_after"]) == (
        "float32",
        "full_range",
        60,
    )


def test_the_same_command_again_trains_nothing_anew(finished):
    workdir, data, *_ = finished
    before, metrics = arrays(workdir / "policy" / "state"), workdir / "pretrain" / "metrics.jsonl"
    rows = metrics.read_text()
    metrics.write_text("".join(rows.splitlines(keepends=True)[:-1]))
    code, out, error = start(workdir, data)
    metrics.write_text(rows)
    assert code == 0, error
    assert "compiling" not in error
    assert "estimate" not in error
    assert error.count(f"{metrics} is not as its stage left it") == 1
    after = arrays(workdir / "policy" / "state")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_stream_mode_runs_and_reports_the_same_log(finished, tmp_path):
    """All stages again on the data of `finished`; the ASM it leaves fits a run in memory mode too."""
    workdir, data, *_ = finished
    before = json.loads((workdir / "results.json").read_text())
    found = run_here(tmp_path / "new", data, "all", {"data.mode": "stream", "data.block_episodes": 3})
    for name in ("fingerprint", "transitions", "trained_on_return", "data_returns"):
        assert found[name] == before[name], name
    streamed, resident = (arrays(root / "policy" / "state") for root in (tmp_path / "new", workdir))
    assert streamed.keys() == resident.keys()
    assert any(not np.array_equal(streamed[name], resident[name]) for name in streamed)
    run_here(tmp_path / "memory", data, "policy", {"asm.path": f"{tmp_path}/new/asm"})
    with pytest.raises(WorkdirError, match="config.data.mode: there 'stream', now 'memory'"):
        run_here(tmp_path / "new", data, "evaluate", {})


def test_a_workdir_in_use_is_refused_and_nothing_is_written(finished):
    workdir, data, *_ = finished
    with locked(workdir):
        before = snapshot(workdir)
        with pytest.raises(WorkdirError, match=f"--workdir={workdir} is in use by process {os.getpid()} on"):
            run_here(workdir, data, "policy", {})
        assert snapshot(workdir) == before


def test_another_configuration_is_refused_with_the_difference(finished):
    workdir, data, *_ = finished
    before = snapshot(workdir)
    code, _, error = start(workdir, data, "--config.asm.width=32")
    assert code == 1
    assert "config.asm.width: there 16, now 32" in error
    assert "Traceback" not in error
    assert snapshot(workdir) == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"asm.width": 32}, "architecture.body.width is 16 there, 32 here"),
        ({"data.level": "expert"}, "level is 'medium-expert' there, 'expert' here"),
        ({"data.normalise": False}, "normalise is True there, False here"),
        ({"asm.epoch": 7}, r"holds no step 7; saved steps: \[0, 1, 2\]"),
    ],
)
def test_an_asm_that_does_not_fit_is_named(finished, tmp_path, overrides, message):
    workdir, data, *_ = finished
    before = snapshot(workdir)
    with pytest.raises(CheckpointError, match=message):
        run_here(tmp_path / "new", data, "policy", {"asm.path": f"{workdir}/asm", **overrides})
    assert not (tmp_path / "new").exists()
    assert snapshot(workdir) == before


def test_an_asm_of_another_task_is_named(finished, tmp_path):
    """A copy whose record says quadruped_walk: what stage 1 would have written for that task, without the checksum."""
    workdir, data, *_ = finished
    shutil.copytree(workdir / "asm", tmp_path / "asm")
    for path in (tmp_path / "asm").rglob("record/metadata"):
        stored = json.loads(path.read_text().replace('"cheetah_run"', '"quadruped_walk"'))
        del stored["record_sha256"]
        path.write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match="task is 'quadruped_walk' there, 'cheetah_run' here"):
        run_here(tmp_path / "new", data, "policy", {"asm.path": f"{tmp_path}/asm"})
    assert not (tmp_path / "new").exists()


def test_a_damaged_asm_is_named(finished, tmp_path):
    workdir, data, *_ = finished
    shutil.copytree(workdir / "asm", tmp_path / "asm")
    for path in (tmp_path / "asm" / "2" / "arrays").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"{tmp_path}/asm/2 is damaged"):
        run_here(tmp_path / "new", data, "policy", {"asm.path": f"{tmp_path}/asm"})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("learner", "gamma"), [("iql", 0.9), ("awac", 0.8), ("bc", None)])
def test_the_configured_n_steps_and_gamma_make_the_transitions(finished, learner, gamma):
    """From the files that main.py made: the fourth step is the first one's next state."""
    config = get_config("smoke")
    changes = {"data.dir": str(finished[1]), "learner": learner, "train.n_step": 4}
    config.update_from_flattened_dict(changes | ({f"{learner}.gamma": gamma} if gamma else {}))
    run = build(resolve(config))
    four = load_data(run)
    config.train.n_step = 1
    one = load_data(build(resolve(config)))
    assert four.fingerprint == one.fingerprint
    np.testing.assert_array_equal(four.train.next_observation[:990], one.train.next_observation[3:993])
    np.testing.assert_allclose(four.train.discount[:990], (gamma or 1.0) ** 3, rtol=1e-6)
    rewards = sum((gamma or 1.0) ** k * one.train.reward[k : 990 + k].astype(float) for k in range(4))
    np.testing.assert_allclose(four.train.reward[:990], rewards, rtol=1e-5, atol=1e-7)
    fitted, _ = logs(run, four)  # what off-policy evaluation sees goes step by step
    np.testing.assert_array_equal(fitted.data.reward, one.train.reward)
    np.testing.assert_array_equal(fitted.data.discount, one.train.discount)


@pytest.mark.parametrize(
    ("stage", "overrides", "kind", "message"),
    [
        ("all", {"data.level": "midium"}, ConfigError, "Unknown level 'midium'. Known levels: random, medium, expert"),
        ("all", {"policy": "spn"}, ConfigError, "config.policy is 'spn'. Did you mean 'spin'?"),
        ("all", {"iql.expectile": 1.5}, ConfigError, "iql.expectile must lie in .0, 1., got 1.5"),
        ("all", {"data.dir": f"{ROOT}/README.md"}, ConfigError, "README.md, which is a file, not a directory"),
        ("all", {"asm.num_heads": 3}, ConfigError, "width 16 must be divisible by num_heads 3"),
        ("policy", {}, CheckpointError, "No pre-trained ASM in .*--stage=pretrain first"),
        ("pretrain", {"data.episodes": 5}, DataError, "There is no data set at .*--stage=data first"),
    ],
)
def test_bad_input_is_named_and_leaves_no_workdir(finished, tmp_path, stage, overrides, kind, message):
    with pytest.raises(kind, match=message):
        run_here(tmp_path / "new", finished[1], stage, overrides)
    assert not (tmp_path / "new").exists()


def test_a_mistyped_flag_gets_one_line(tmp_path):
    code, _, error = start(tmp_path / "new", tmp_path, "--config.asm.num_epoch=3")
    assert code != 0
    assert error.strip() == "error: config.asm.num_epoch: no such field. Did you mean 'num_epochs'?"
    code, _, error = start(tmp_path / "new", tmp_path, preset="quik")
    assert code != 0
    assert error.strip() == "error: Unknown preset 'quik'; presets: paper, quick, smoke."


def test_a_directory_that_is_no_run_and_one_that_is_no_data_set_are_left_alone(finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(WorkdirError, match="is not empty and holds no config.json"):
        run_here(tmp_path / "mine", finished[1], "all", {})
    name = next((finished[1] / "factorised_dmc").glob("cheetah*")).name
    (tmp_path / "data" / "factorised_dmc" / name / "1.0.0").mkdir(parents=True)
    with pytest.raises(DataError, match="is not a TFDS data set"):
        run_here(tmp_path / "new", tmp_path / "data", "data", {})
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_nan_and_a_broken_shard_are_named(finished, tmp_path):
    """The NaN is written into the shard as a broken recorder would have."""
    source = next((finished[1] / "factorised_dmc").glob("*/1.0.0"))
    target = tmp_path / "data" / "factorised_dmc" / source.parent.name / "1.0.0"
    shutil.copytree(source, target)
    episodes, features = list(EpisodeSource(str(source), "expert")), rlds_features(17, 6)
    episodes[1].observation[7, 3] = np.nan
    shard = next(target.glob("*expert.array_record*"))
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    writer = ArrayRecordWriter(str(shard), "group_size:1")
    for episode in episodes:
        writer.write(serializer.serialize_example(features.encode_example({"steps": to_rlds(episode)})))
    writer.close()
    with pytest.raises(DataError, match=r"expert.* is not the file that card_expert\.json beside it was made from"):
        run_here(tmp_path / "new", tmp_path / "data", "pretrain", {})
    (target / "card_expert.json").unlink()  # as in a log of an older version
    with pytest.raises(DataError, match="observation of episode 5 is nan at step 7, feature 3"):  # after medium's 4
        run_here(tmp_path / "new", tmp_path / "data", "pretrain", {})
    shard.write_bytes(shard.read_bytes()[:70_000])
    with pytest.raises(DataError, match="Cannot read split 'expert'"):
        run_here(tmp_path / "new", tmp_path / "data", "pretrain", {"data.level": "expert"})
    assert not (tmp_path / "new").exists()
