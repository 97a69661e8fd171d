"""A stage of several seeds: each has a workdir of its own, and all go on from a step that all of them have."""

import dataclasses
import functools
import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.errors import ConfigError, WorkdirError
from spin_jax.learners.base import Learner
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import read_rows
from spin_jax.record.progress import log
from spin_jax.stages import stage as stage_module
from spin_jax.stages.members import members, seeds_of
from spin_jax.stages.stage import Stage
from spin_jax.types import ActionSpec


class Facts(NamedTuple):
    """What a stage asks of a log."""

    spec: ActionSpec = ActionSpec((3,) * 6)
    blank: np.ndarray = np.zeros((1, 17), np.float32)


@pytest.fixture
def prepared(smoke, tmp_path):
    """prepared(field=value) -> (run, workdir) of a smoke run."""
    return functools.partial(smoke, tmp_path / "work")


def test_one_seed_is_the_run_itself(prepared):
    run, workdir = prepared()
    assert members(run, workdir) == [(run, workdir)]


@pytest.mark.parametrize("per_seed", [False, True])
def test_each_of_several_seeds_is_a_run_of_its_own(prepared, per_seed):
    run, workdir = prepared(num_seeds=2, seed=4, asm__per_seed=per_seed)
    team = members(run, workdir)
    assert [m.run.seed for m in team] == [4, 5]
    assert [m.workdir.path.name for m in team] == ["seed_4", "seed_5"]
    assert [m.workdir.asm == workdir.asm for m in team] == [not per_seed] * 2
    team[1].workdir.stage("policy")
    alone = json.loads((team[1].workdir.path / "config.json").read_text())
    assert (alone["seed"], alone["num_seeds"], alone["asm"]["per_seed"]) == (5, 1, False)
    with pytest.raises(WorkdirError, match="config.train.num_steps: there 80, now 81"):
        members(*prepared(num_seeds=2, seed=4, asm__per_seed=per_seed, train__num_steps=81))


def test_it_goes_on_from_the_last_step_that_all_seeds_saved(prepared):
    run, workdir = prepared(num_seeds=2)
    team, facts = members(run, workdir), Facts()
    learner = Learner(lambda *_: {"x": jnp.float32(0)}, None, None)
    state = {"x": jnp.float32([1, 2])}
    with Stage("policy", run, workdir, 32) as stage:
        assert (stage.resumed, stage.start) == (False, 0)
        for step in (0, 10):
            stage.write(step, {"loss": np.array([step, -step])})
            stage.save(step, state, {"step": step})
    stage.write(20, {"loss": np.array([7, 7])})
    CheckpointStore(team[0].workdir.path / "policy" / "state", keep=2).save(
        20, {"x": jnp.float32(1)}, {}
    )  # then it was killed
    with Stage("policy", run, workdir, 32) as stage:
        assert (stage.resumed, stage.start) == (True, 10)
        assert stage.record().keys() == {"step", "seconds"}
        assert stage.record()["step"] == 10
        assert stage.begin(learner, [(), ()], facts, 100)["x"].tolist() == [1, 2]
        assert stage.has(10, "loss")
        assert not stage.has(20, "loss")
        assert not stage.has(10, "return_mean")
    rows = read_rows(team[1].workdir.path / "policy" / "metrics.jsonl")
    assert [(row["step"], row["loss"]) for row in rows] == [(0, 0), (10, -10)]


def test_a_step_that_was_saved_just_now_is_not_written_again(prepared, monkeypatch):
    """A hook and a signal may ask for the same step; replacing a checkpoint leaves none for a moment."""
    run, workdir = prepared()
    written = []
    monkeypatch.setattr(CheckpointStore, "save", lambda self, step, *_: written.append(step))
    stage = Stage("policy", run, workdir, 32)
    for step in (0, 10, 10, 20):
        stage.save(step, {"x": jnp.float32(1)}, {})
    assert written == [0, 10, 20]


def test_the_only_checkpoint_is_not_replaced_by_itself(prepared, monkeypatch):
    """Replacing it leaves none for a moment; an epoch that is made anew asks for that step."""
    run, workdir = prepared()
    Stage("pretrain", run, workdir, 32).save(10, {"x": jnp.float32(1)}, {})
    monkeypatch.setattr(CheckpointStore, "save", None)
    Stage("pretrain", run, workdir, 32).save(10, {"x": jnp.float32(1)}, {})


class Devices(NamedTuple):
    """A layout without devices."""

    shards: int
    mesh: None = None

    def put(self, tree, *_):
        return tree


@pytest.mark.parametrize(("devices", "shards"), [(8, 8), (4, 8), (1, 8), (16, 16)])
def test_a_stage_goes_on_with_the_shards_that_it_began_with(prepared, monkeypatch, caplog, devices, shards):
    """However much memory is free today; but for devices that they do not divide among, which is said."""
    run, workdir = prepared()
    monkeypatch.setattr(stage_module.rows, "_fits", lambda _: False)
    monkeypatch.setattr(stage_module.rows, "place", lambda *_: None)
    monkeypatch.setattr(stage_module.loop, "fit", lambda learner, state, *_, **__: state)
    monkeypatch.setattr(log, "propagate", True)

    def shards_on(devices):
        stage = Stage("policy", run, workdir, 32)
        stage.layout = Devices(devices)
        stage.fit(None, {}, [()], {"x": np.zeros(4)}, num_steps=20, hooks=[], save=None, show=())
        return stage._shards

    assert shards_on(8) == 8
    CheckpointStore(workdir.path / "policy" / "state").save(10, {"x": np.float32(1)}, {"shards": 8})
    assert shards_on(devices) == shards
    assert ("batches are others" in caplog.text) == (devices == 16)


def test_a_stage_that_is_only_looked_at_leaves_no_trace(prepared):
    run, workdir = prepared(num_seeds=2)
    assert not Stage("policy", run, workdir, 32).resumed
    assert not workdir.path.exists()


def test_how_many_are_trained_at_once(prepared):
    run, _ = prepared(num_seeds=4)
    assert seeds_of(run).at_once == 1  # on CPU
    assert seeds_of(dataclasses.replace(run, seeds_per_batch=3)).at_once == 3
    assert seeds_of(dataclasses.replace(run, seeds_per_batch=9)).at_once == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 0}, "config.num_seeds must lie in .1, 4096., got 0"),
        ({"num_seeds": 2, "data__mode": "stream"}, "num_seeds > 1 needs data.mode='memory'"),
        ({"asm__per_seed": True, "asm__path": "x"}, "use one of the two"),
        ({"asm__per_seed": True, "policy": "spin_cached"}, "it needs asm.per_seed=False"),
        ({"precision": "float16"}, "config.precision must be 'float32' or 'bfloat16', got 'float16'"),
    ],
)
def test_what_does_not_go_together_is_refused(prepared, changes, message):
    with pytest.raises(ConfigError, match=message):
        prepared(**changes)
