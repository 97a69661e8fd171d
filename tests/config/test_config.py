"""Configurations: every shipped file loads, presets resolve, and each wrong field is named."""

import importlib
import pathlib

import pytest
from ml_collections import ConfigDict

from configs import log
from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve, worker_processes
from spin_jax.config.build import build, did_you_mean, explain_flag_error, stages_of
from spin_jax.errors import ConfigError
from spin_jax.stages import STAGES

CONFIGS = sorted(p.stem for p in (pathlib.Path(__file__).parents[2] / "configs").glob("*.py") if p.stem != "base")


@pytest.mark.parametrize("preset", ["paper", "quick", "smoke"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_builds(name, preset):
    run = build(resolve(importlib.import_module(f"configs.{name}").get_config(preset)))
    assert run.task == name


def test_paper_is_the_published_method_and_quick_is_the_warm_start():
    paper, quick = (build(resolve(get_config(preset))) for preset in ("paper", "quick"))
    assert (paper.asm.masking, paper.asm.mask_rate, paper.asm.replace_mask, paper.asm.replace_random) == (
        "fixed", 0.15, 0.8, 0.1,
    )  # fmt: skip
    assert (paper.policy_config.queries, paper.policy_config.heads) == ("normal", "fresh")
    assert (paper.learner_config.expectile, paper.learner_config.beta, paper.learner_config.extract_after) == (
        0.8,
        3,
        0,
    )
    assert (quick.asm.masking, quick.asm.replace_mask, quick.asm.replace_random) == ("full_range", 1.0, 0.0)
    assert (quick.policy_config.queries, quick.policy_config.heads) == ("mask", "asm")


def test_resolve_leaves_its_argument_alone():
    config = get_config("quick")
    before = config.to_json()
    resolve(config)
    assert config.to_json() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "cheetah_walk"}, "config.task is 'cheetah_walk'. Did you mean 'cheetah_run'?"),
        ({"learner": "xyz"}, "config.learner is 'xyz'. Known: awac, bc, bcq, cql, iql."),
        ({"bins": 1}, "config.bins must be at least 2, got 1"),
        ({"train.batch_size": 0}, "config.train.batch_size must be at least 1, got 0"),
        ({"train.n_step": 0}, "config.train.n_step must be at least 1, got 0"),
        ({"asm.masking": "bert"}, "masking must be 'fixed' or 'full_range', got 'bert'"),
        ({"data.mode": "disk"}, "config.data.mode must be 'memory' or 'stream', got 'disk'"),
        ({"data.block_episodes": 0}, "config.data.block_episodes must be at least 1, got 0"),
        ({"asm.schedule": "linear"}, "config.asm.schedule must be 'constant' or 'cosine', got 'linear'"),
        ({"train.policy_schedule": "no"}, "config.train.policy_schedule must be 'constant' or 'cosine', got 'no'"),
        ({"asm.dropout": 1.0}, "config.asm.dropout must lie in [0, 0.99], got 1.0"),
        ({"data.epsilon": -0.1}, "config.data.epsilon must lie in [0, 1], got -0.1"),
        ({"data.held_out": 0.7}, "config.data.held_out must lie in [0, 0.5], got 0.7"),
        ({"data.done": "end"}, "config.data.done must be 'terminal' or 'truncation', got 'end'"),
        ({"train.keep_policies": 0}, "config.train.keep_policies must be at least 1, got 0"),
        ({"ope.steps": 1000}, "are too few for gamma 0.99: at least 4 / (1 - gamma) = 400 are needed"),
        ({"ope.members": 0}, "ope.members must be positive, got 0"),
        ({"iql.lr_decay": 1.1}, "iql.lr_decay must lie in (0, 1], got 1.1"),
        ({"policy": "spin_cached", "asm.state_free": True}, "spin_cached sees the state only through the ASM"),
        ({"eval.mode": "best"}, "config.eval.mode must be 'sample' or 'greedy', got 'best'"),
        ({"iql.gamma": float("nan")}, "config.iql.gamma is NaN"),
        ({"iql.weight_clip": 0.0}, "iql.weight_clip must be positive, got 0.0"),
        ({"iql.tau": 0.0}, "iql.tau must lie in"),
        ({"spin.queries": "zeros"}, "queries must be 'normal' or 'mask'"),
        ({"policy": "spin_cached", "spin_cached.heads": "asm", "asm.head_width": 7}, "heads of width 7"),
        ({"policy": "spin_cached", "data.mode": "stream"}, "policy spin_cached keeps what it reads of the whole log"),
        ({"policy": "factored", "learner": "cql", "cql.penalty": "candidates"}, "this policy reads none: use 'slots'"),
    ],
)
def test_a_value_out_of_range_is_named(changes, message):
    config = get_config("paper")
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError) as error:
        build(resolve(config))
    assert message in str(error.value)


def test_unknown_and_missing_fields_are_named():
    config = get_config("paper")
    config.iql = ConfigDict({**config.iql, "bta": 3.0})
    with pytest.raises(ConfigError, match="config.iql.bta is not a field. Did you mean 'beta'?"):
        build(resolve(config))
    config = get_config("paper")
    del config.train.num_steps
    with pytest.raises(ConfigError, match="config.train.num_steps is missing"):
        build(resolve(config))


def test_unknown_columns_are_named():
    config = get_config("paper")
    config.data.columns = ConfigDict({**config.data.columns, "actions": "slot_*"})
    with pytest.raises(ConfigError, match="config.data.columns.actions is not a field. Did you mean 'action'?"):
        build(resolve(config))


def test_without_a_simulator_the_log_judges():
    run = build(resolve(log.get_config("quick")))
    assert stages_of(run, STAGES) == ["data", "pretrain", "policy", "ope"]
    with pytest.raises(ConfigError, match="log has no simulator. --stage=ope judges the policy from the log"):
        stages_of(run, ("evaluate",))
    assert stages_of(build(resolve(get_config("quick"))), STAGES) == ["data", "pretrain", "policy", "evaluate"]


def test_hints():
    assert did_you_mean("qick", ["quick", "paper"]) == " Did you mean 'quick'?"
    assert did_you_mean("zzz", ["quick", "paper"]) == " Known: paper, quick."
    line = explain_flag_error(["main.py", "--config.asm.wdth=3"], AttributeError("'wdth'"))
    assert line == "config.asm.wdth: no such field. The fields and what they mean: configs/base.py."
    assert worker_processes(3) == 3
    assert worker_processes(0) == 0
    assert worker_processes(-1) >= 0
