"""An ASM of an interrupted stage 1 and a policy of an interrupted stage 2 are not taken for finished ones."""

import contextlib
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from spin_jax.errors import CheckpointError
from spin_jax.evaluation.scores import Score
from spin_jax.frozen.artefact import open_store
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import read_rows
from spin_jax.record.progress import log
from spin_jax.report.results import collect_results, table
from spin_jax.stages import evaluate_policy as evaluate
from spin_jax.stages.distill import distill
from spin_jax.stages.evaluate_policy import evaluate_policy, last_step
from spin_jax.stages.members import frozen_of, members
from spin_jax.stages.pretrain_asm import Epochs, pretrain_asm
from spin_jax.stages.requirements import check_requirements
from spin_jax.stages.stage import Stage
from spin_jax.stages.train_policy import train_policy


class Killed(Exception):
    pass


def asm_of(run, workdir, dataset):
    """The frozen ASM of a run of one seed."""
    return frozen_of(members(run, workdir), dataset)[0]


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, dataset, smoke):
    """(run, workdir) of two epochs of stage 1 that was killed before the second was saved."""

    def keep(self, step, state, keep=Epochs.keep):
        if step == 2:  # an epoch has one step
            raise Killed
        keep(self, step, state)

    run, workdir = smoke(tmp_path_factory.mktemp("killed") / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Epochs, "keep", keep)
        with pytest.raises(Killed):
            pretrain_asm(run, workdir, dataset)
    assert open_store(workdir.asm).steps() == [0, 1]
    recorded = json.loads((workdir.path / "pretrain" / "inputs.json").read_text())
    assert recorded["log"]["digest"] == dataset.fingerprint
    return run, workdir


@pytest.fixture(scope="module")
def ended(killed, tmp_path_factory, dataset, smoke):
    """(run, workdir): a copy of `killed` that the same command ended."""
    _, workdir = killed
    run, copy = smoke(shutil.copytree(workdir.path, tmp_path_factory.mktemp("ended") / "work"))
    pretrain_asm(run, copy, dataset)
    return run, copy


UNFINISHED = r"{asm} is not finished: its stage 1 has reached epoch 1 of 2\. End stage 1 .*without --stage"
BY_NAME = r".*--workdir=ANOTHER_DIRECTORY --config\.asm\.path={asm} --config\.asm\.epoch=1"


def test_stage_2_refuses_the_asm_of_a_killed_stage_1(killed, dataset):
    run, workdir = killed
    with pytest.raises(CheckpointError, match=(UNFINISHED + BY_NAME).format(asm=workdir.asm)):
        train_policy(run, workdir, dataset)
    assert not (workdir.path / "policy").exists()
    with pytest.raises(CheckpointError, match=UNFINISHED.format(asm=workdir.asm)):
        check_requirements(run, workdir, ["policy"])


@pytest.mark.parametrize(("stage", "policy"), [(train_policy, "spin_warm"), (distill, "spin_distill")])
def test_it_is_refused_from_another_workdir_too(killed, dataset, smoke, tmp_path, stage, policy):
    asm = killed[1].asm
    run, workdir = smoke(tmp_path / "new", policy=policy, asm__path=str(asm))
    with pytest.raises(CheckpointError, match=(UNFINISHED + BY_NAME).format(asm=asm)):
        stage(run, workdir, dataset)
    assert not workdir.path.exists()


def test_both_ways_out_of_it_do_what_they_say(killed, ended, dataset, smoke, tmp_path):
    named = asm_of(*smoke(tmp_path / "new", asm__path=str(killed[1].asm), asm__epoch=1), dataset)
    whole = asm_of(*ended, dataset)
    assert (named.record["epoch"], whole.record["epoch"]) == (1, 2)
    with pytest.raises(AssertionError):
        assert_equal(named, whole)


def test_a_damaged_last_epoch_is_made_anew_and_never_passed_over(ended, dataset, smoke, tmp_path):
    """What the message advises: delete the directory and run the same command again."""
    whole = asm_of(*ended, dataset)
    run, workdir = smoke(shutil.copytree(ended[1].path, tmp_path / "work"))
    last, rows = workdir.asm / "2", read_rows(workdir.path / "pretrain" / "metrics.jsonl")
    for path in (last / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:50])
    advice = (
        "asm/2 is damaged .*Restore it from a copy, take another epoch .*or delete that directory: .*saves the last"
    )
    with pytest.raises(CheckpointError, match=advice):
        asm_of(run, workdir, dataset)
    shutil.rmtree(last)
    with pytest.raises(CheckpointError, match=UNFINISHED.format(asm=workdir.asm)):
        asm_of(run, workdir, dataset)
    summary = pretrain_asm(run, workdir, dataset)
    assert_equal(asm_of(run, workdir, dataset), whole)
    assert summary["trained"] == open_store(ended[1].asm).record()["probe"]
    assert read_rows(workdir.path / "pretrain" / "metrics.jsonl") == rows


def test_an_epoch_that_is_not_to_be_kept_is_not_made_up_for(ended, dataset, smoke, tmp_path):
    """With epochs kept every second time, the first one is not missing."""
    run, workdir = ended
    stage = Stage("pretrain", dataclasses.replace(run, asm=dataclasses.replace(run.asm, num_epochs=9)), workdir, 256)
    for every, kept in ((1, False), (2, True)):
        stage.run = dataclasses.replace(run, asm=dataclasses.replace(stage.run.asm, checkpoint_every_epochs=every))
        assert Epochs(stage, dataset, epoch_steps=1).are_kept(3) is kept


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_an_evaluation_says_at_which_step_an_unfinished_policy_stands(
    dataset, smoke, tmp_path, monkeypatch, caplog, num_seeds
):
    """Of several seeds, the last step that all of them have."""
    run, workdir = smoke(tmp_path / "work", num_seeds=num_seeds, policy="factored")
    team, asked = members(run, workdir), []
    with pytest.raises(CheckpointError, match="No trained policy in .*run --stage=policy first"):
        last_step(run, team)
    for number, member in enumerate(team):
        member.workdir.stage("policy")
        for step in (20, 40, 60)[: 3 - number]:
            CheckpointStore(member.state("policy"), keep=None).save(step, {"x": np.zeros(1)}, {})
    score = Score(np.zeros(2), 0.0, 0.0, (0.0, 0.0), None)

    class Player(contextlib.nullcontext):
        def __call__(self, step, state):
            asked.append(step)
            return [score] * num_seeds

    monkeypatch.setattr(evaluate, "make_evaluator", lambda *_, **__: Player())
    monkeypatch.setattr(
        evaluate, "load_policy", lambda *args: asked.append(args[-1]) or (None, [np.zeros(1)] * num_seeds, [])
    )
    monkeypatch.setattr(log, "propagate", True)
    found = evaluate_policy(run, workdir, dataset)
    step = {1: 60, 2: 40}[num_seeds]
    assert asked == [step, step]
    assert (found["step"], found["num_steps"]) == (step, 80)
    assert json.loads((workdir.path / "evaluate" / "summary.json").read_text())["step"] == step
    assert f"not trained to its end: what is judged stands at step {step} of 80" in caplog.text
    assert collect_results(run, workdir, dataset)["step"] == step


def test_the_tables_say_it_and_say_nothing_of_a_finished_policy():
    results = {
        "task": "cheetah_run", "bins": 3, "level": "expert", "policy": "spin_warm", "learner": "iql", "mode": "greedy",
        "reference_returns": None, "return_mean": 1.0, "return_ci95": [0.0, 2.0], "by_seed": None, "episodes": 2,
        "trained_on_return": 3.0, "data_returns": None, "asm": {"trained": None, "untrained": None},
        "off_policy": None, "seconds": {}, "num_steps": 80,
    }  # fmt: skip
    assert "  spin_warm is not finished: step 60 of 80" in table(results | {"step": 60}).splitlines()
    assert "not finished" not in table(results | {"step": 80})
    assert "not finished" not in table(results | {"step": None, "num_steps": None})  # of an older version
