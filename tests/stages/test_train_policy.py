"""Stage 2 as a whole, on a random log and ASM: beside training or not, together or alone, resumed or not."""

import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.evaluation.background import Background
from spin_jax.frozen.artefact import describe, open_store, params_like
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import read_rows
from spin_jax.record.processes import Preempted
from spin_jax.record.workdir import Workdir
from spin_jax.registry import POLICIES
from spin_jax.stages.distill import distill
from spin_jax.stages.evaluate_policy import evaluate_policy
from spin_jax.stages.stage import Stage
from spin_jax.stages.train_policy import train_policy
from spin_jax.training import loop

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(tmp_path, dataset):
    """trained(name, field=value) -> workdir of a stage 2 that was run in tmp_path/name, or gone on with."""

    def train(name, evaluated=False, **changes):
        config = get_config("smoke")
        changes = {"train__num_steps": 8, "train__checkpoint_every_steps": 4, "eval__every_steps": 2, **changes}
        config.update_from_flattened_dict({field.replace("__", "."): value for field, value in changes.items()})
        config.asm.path = str(tmp_path / "asm")
        config = resolve(config)
        run, store, workdir = build(config), open_store(tmp_path / "asm"), Workdir(str(tmp_path / name), config)
        if not store.steps():
            rng, like = np.random.default_rng(1), params_like(dataset.spec, 17, run.asm.model)
            params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), like)
            describes = describe(run, dataset)
            store.save(0, {"params": params, "normaliser": dataset.normaliser}, {"describes": describes})
        if POLICIES[run.policy].distiller is not None:
            distill(run, workdir, dataset)
        train_policy(run, workdir, dataset)
        if evaluated:
            evaluate_policy(run, workdir, dataset)
        return workdir.path

    return train


def returns(workdir):
    """{step: mean return} of the evaluations, in the order in which they were written."""
    rows = read_rows(workdir / "policy" / "metrics.jsonl")
    return {row["step"]: row["return_mean"] for row in rows if "return_mean" in row}


def arrays(workdir):
    store = CheckpointStore(workdir / "policy" / "state")
    assert store.steps()[-1] == 8
    with np.errstate(all="ignore"):
        restored = store._manager().restore(8)
    return restored["arrays"]


def test_evaluation_beside_training_changes_nothing(trained):
    inline, beside = (trained(name, eval__asynchronous=name) for name in ("off", "on"))
    assert list(returns(inline)) == list(returns(beside)) == [0, 2, 4, 6, 8]
    assert returns(inline) == returns(beside)
    for name, found in arrays(beside).items():
        np.testing.assert_array_equal(found, arrays(inline)[name], err_msg=name)


def test_an_evaluation_that_a_kill_took_away_is_made_up_for(trained):
    """A checkpoint may be saved before the evaluation of its own step has come back."""
    workdir = trained("run")
    expected, path = returns(workdir), workdir / "policy" / "metrics.jsonl"
    rows = [row for row in read_rows(path) if not (row["step"] == 8 and "return_mean" in row)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert 8 not in returns(workdir)
    assert returns(trained("run")) == expected


def test_after_sigterm_the_state_is_saved_before_evaluations_are_waited_for(trained, monkeypatch):
    """Whoever sends the signal may kill the process half a minute later."""
    calls, save, drain = [], Stage.save, Background.drain
    monkeypatch.setattr(Stage, "save", lambda self, *given: (calls.append("save"), save(self, *given)))
    monkeypatch.setattr(
        Background, "drain", lambda self, *given, **more: (calls.append("drain"), drain(self, *given, **more))
    )
    monkeypatch.setattr(loop, "asked_to_stop", lambda: signal.SIGTERM)
    with pytest.raises(Preempted, match="saved step 2 of 8"):
        trained("run", eval__asynchronous="on", train__checkpoint_every_steps=8)
    assert calls == ["drain", "save", "save", "drain"]  # of step 0; of the end
    monkeypatch.undo()
    assert returns(trained("run", eval__asynchronous="on", train__checkpoint_every_steps=8)).keys() == {0, 2, 4, 6, 8}


def test_a_resumed_stage_goes_on_with_the_seconds_that_it_had(smoke, tmp_path):
    """Also with those behind its last row, such as an evaluation's."""
    run, workdir = smoke(tmp_path / "run")
    for step, least in ((0, 0.5), (1, 1.0)):
        with Stage("policy", run, workdir, 32) as stage:
            time.sleep(0.5)
            stage.save(step, {"x": np.zeros(1)}, {})
            assert stage.seconds > least


def test_a_finished_stage_keeps_its_times(trained):
    path = trained("run") / "policy" / "summary.json"
    summary = json.loads(path.read_text())
    trained("run")
    assert json.loads(path.read_text()) == summary


def test_training_that_begins_anew_writes_down_anew_what_the_policy_reads(trained):
    path = trained("work", policy="factored")
    interface = path / "policy" / "interface.json"
    whole = interface.read_text()
    lie = whole.replace('"clip": null', '"clip": 3.0')
    assert lie != whole
    interface.write_text(lie)
    trained("work", policy="factored")
    assert interface.read_text() == lie  # of the policy that is there
    shutil.rmtree(path / "policy" / "state")
    (path / "policy" / "summary.json").unlink(missing_ok=True)
    trained("work", policy="factored")
    assert interface.read_text() == whole


@pytest.mark.parametrize("policy", ["factored", "spin_distill"])
def test_seeds_together_are_the_runs_of_each_alone(trained, policy):
    own = {"policy": policy, "spin_distill__steps": 8}
    together = trained("together", True, num_seeds=2, seed=5, **own)
    for stage in ("policy", "distill") if policy == "spin_distill" else ("policy",):
        recorded = json.loads((together / "seed_6" / stage / "inputs.json").read_text())
        assert set(recorded) == {"log", "ASM"} - ({"ASM"} if policy == "factored" else set())
    for seed in (5, 6) if policy == "factored" else (6,):
        alone, member = trained(f"alone_{seed}", True, seed=seed, **own), together / f"seed_{seed}"
        assert list(returns(member)) == [0, 2, 4, 6, 8]
        np.testing.assert_allclose(list(returns(member).values()), list(returns(alone).values()), rtol=1e-4)
        for name, found in arrays(member).items():
            expected = arrays(alone)[name]
            assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected), name
        scores = [json.loads((path / "evaluate" / "summary.json").read_text()) for path in (alone, member)]
        np.testing.assert_allclose(scores[1]["returns"], scores[0]["returns"], rtol=1e-4)
    summary = json.loads((together / "evaluate" / "summary.json").read_text())
    assert list(summary["seeds"]) == ["5", "6"]
    assert summary["seeds"]["6"]["returns"] == scores[1]["returns"]


def test_percentile_cloning_sees_the_rows_of_the_best_episodes_alone(trained, dataset, monkeypatch):
    """Of two episodes of 20 steps with equal returns, half is the first."""
    seen = []
    monkeypatch.setattr(Stage, "fit", lambda self, learner, state, frozen, data, **_: (seen.append(data), state)[1])
    trained("best", learner="bc", bc__top_fraction=0.5, policy="spin_cached", eval__every_steps=8)
    assert seen[0].x.shape[0] == 20
    np.testing.assert_array_equal(seen[0].action, dataset.train.action[:20])


def test_a_longer_run_compiles_no_more_than_a_short_one(trained):
    """Neither a later chunk nor a later evaluation compiles again."""
    compiled = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        trained("warm")  # whatever is compiled once a process
        counts = []
        for name, steps in (("short", 8), ("long", 24)):
            before = len(compiled)
            trained(name, train__num_steps=steps)
            counts.append(len(compiled) - before)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert counts[0] > 0
    assert counts[0] == counts[1]
