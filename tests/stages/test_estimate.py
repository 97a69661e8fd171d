"""The estimate that is logged before the first long stage: against times that are known, and what it says."""

import json
import logging
import time

import numpy as np
import pytest

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.progress import duration, log
from spin_jax.record.workdir import Workdir
from spin_jax.stages import STAGES, estimate
from spin_jax.stages.estimate import Estimate, announce


@pytest.fixture
def prepared(tmp_path):
    """prepared(field=value) -> (run, workdir) of a smoke run without a data set."""

    def prepare(**changes):
        config = get_config("smoke")
        changes = {"data__dir": str(tmp_path / "data"), **changes}
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
        config = resolve(config)
        return build(config), Workdir(str(tmp_path / "work"), config)

    return prepare


@pytest.fixture
def known(monkeypatch):
    """Every measured call takes a second, so that an estimate is a count of calls."""
    monkeypatch.setattr(estimate, "_seconds_of", lambda call: 1.0)


def test_the_count_of_steps_is_that_of_the_stages(prepared, known):
    """8 logged episodes of 1000 steps, of which one in 20 is held out; steps are timed two at a time."""
    run, workdir = prepared(policy="spin_distill", train__num_steps=100, iql__extract_after=60)
    found = Estimate(run, workdir).seconds(STAGES)
    playing = 2 * 1000 + 1000  # two environments, one policy call a control step
    assert found == {
        "data": 3 * 4 * 1000,
        "pretrain": 2 * 30 / 2,  # epochs of ceil(7600 / 256) steps
        "distill": 40 / 2,
        "policy": 100 / 2 + 3 * playing,  # evaluations at 0, 40 and 80
        "evaluate": playing,
    }


def test_stages_that_a_policy_does_not_have_are_left_out(prepared, known):
    found = Estimate(*prepared(policy="saint")).seconds(STAGES)
    assert list(found) == ["data", "policy", "evaluate"]


def test_evaluations_beside_training_are_not_waited_for(prepared, known):
    beside = Estimate(*prepared(eval__asynchronous="on")).seconds(["policy"])["policy"]
    assert beside == 80 / 2


@pytest.mark.parametrize(("per_seed", "steps"), [(False, 40), (True, 60)])
def test_steps_that_are_done_are_not_counted_where_seeds_share_an_asm_or_not(prepared, known, per_seed, steps):
    run, workdir = prepared(num_seeds=2, asm__per_seed=per_seed)
    CheckpointStore(workdir.path / "pretrain" / "state").save(20, {"x": np.zeros(1)}, {})  # of the shared ASM
    assert Estimate(run, workdir).seconds(["pretrain"])["pretrain"] == steps / 2


def test_steps_of_waiting_for_the_critics_are_timed_apart(prepared, monkeypatch):
    """The first 60 of 80 steps cost 1 s for two, the others 3 s."""
    seconds = iter([1.0, 3.0])
    monkeypatch.setattr(estimate, "_seconds_of", lambda call: next(seconds))
    run, workdir = prepared(eval__asynchronous="on")
    assert run.learner_config.policy_starts_at == 60
    assert Estimate(run, workdir).seconds(["policy"])["policy"] == (60 * 1 + 20 * 3) / 2


def test_a_measurement_is_the_time_of_a_call():
    found = estimate._seconds_of(lambda: time.sleep(0.02))
    assert 0.02 <= found < 0.04


@pytest.fixture
def told(monkeypatch):
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    monkeypatch.setattr(log, "handlers", [handler])
    before = log.level
    log.setLevel(logging.INFO)  # the attribute alone would leave what the logger remembers of its level
    yield lines
    log.setLevel(before)


def announced(monkeypatch, prepared, stages=STAGES, **seconds):
    monkeypatch.setattr(Estimate, "seconds", lambda self, stages: seconds)
    announce(*prepared(train__num_steps=estimate.FEW), stages)


def test_a_long_run_is_told_what_ends_in_minutes(prepared, monkeypatch, told):
    announced(monkeypatch, prepared, pretrain=17.7 * 86400, policy=6.9 * 86400)
    assert told[1] == "estimate: pretrain 17.7 days, policy 6.9 days; in all about 24.6 days"
    assert "--config=configs/cheetah_run.py:quick" in told[2]
    assert "It begins now" in told[2]


def test_a_short_run_is_told_its_time_alone(prepared, monkeypatch, told):
    announced(monkeypatch, prepared, pretrain=11.9 * 3600.0)
    assert told[1:] == ["estimate: pretrain 11.9 hours; in all about 11.9 hours"]


@pytest.mark.parametrize(
    "more", [{"train__num_steps": 940}, {"asm__num_epochs": 31}, {"policy": "spin_distill", "spin_distill__steps": 900}]
)
def test_a_run_of_few_steps_is_told_nothing(prepared, monkeypatch, told, more):
    """Smoke: 2 epochs of 30 steps, and 80 of the policy; each of these brings them to 1000 or more."""
    monkeypatch.setattr(Estimate, "seconds", lambda self, stages: {"pretrain": 1.0})
    announce(*prepared(), STAGES)
    assert told == []
    announce(*prepared(**more), STAGES)
    assert len(told) == 2


def test_nothing_is_timed_on_an_accelerator(prepared, monkeypatch, told):
    monkeypatch.setattr(estimate.jax, "default_backend", lambda: "gpu")
    announced(monkeypatch, prepared, pretrain=17.7 * 86400)
    assert told == []


def test_nothing_is_timed_for_stages_that_are_finished(prepared, monkeypatch, told):
    run, workdir = prepared()
    metrics = {"exact_match": 0.5, "slot_accuracy": [0.5], "accuracy_product": 0.5}
    probes = {"probe_name": "held_out", "untrained": metrics, "trained": metrics}
    workdir.finish("pretrain", {"seconds": 1, **probes})
    workdir.finish("policy", {"seconds": 1, "updates_per_second": 1, "parameters": 1, "frozen_parameters": 1})
    announce(run, workdir, ["pretrain", "policy", "evaluate"])
    assert told == []
    assert json.loads((workdir.path / "config.json").read_text())["task"] == "cheetah_run"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2.0 minutes"),
        (754, "13 minutes"),
        (7200, "2.0 hours"),
        (10**6, "11.6 days"),
    ],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text
