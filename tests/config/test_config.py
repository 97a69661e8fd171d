"""Configurations: every shipped file loads, presets resolve, and each wrong field is named."""

import dataclasses
import functools
import importlib
import pathlib
import re
from math import inf, nan
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from configs import log
from configs.cheetah_run import get_config
from spin_jax.command import explain_flag_error
from spin_jax.config.auto import resolve, worker_processes
from spin_jax.config.build import build, did_you_mean, sections, stages_of
from spin_jax.config.sections import RunConfig
from spin_jax.envs.tasks import TASKS, family, flags_of
from spin_jax.errors import ConfigError
from spin_jax.fields import KINDS
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.record.workdir import flat
from spin_jax.stages import STAGES

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem != "base")


@pytest.mark.parametrize("preset", ["paper", "quick", "smoke"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_builds(name, preset):
    run = build(resolve(importlib.import_module(f"configs.{name}").get_config(preset)))
    assert family(run.task) == name


@pytest.mark.parametrize("task", TASKS)
def test_the_flags_that_a_message_names_choose_the_task(task, monkeypatch):
    """As from the command line, where the file of a maze has run before the flag of its size is read."""
    arguments = ["main.py", *flags_of(task, "smoke").replace("configs", str(ROOT / "configs")).split()]
    monkeypatch.setattr("sys.argv", arguments)  # config_flags reads it
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(arguments)
    assert build(resolve(values.config)).task == task
    assert values.config.asm.width == 16


@pytest.mark.parametrize("actuators", [2, 16])
def test_a_maze_of_a_wrong_size_is_refused_by_the_field(actuators):
    config = importlib.import_module("configs.maze").get_config("smoke")
    config.maze.actuators = actuators
    with pytest.raises(ConfigError, match=rf"config.maze.actuators must lie in \[3, 15\], got {actuators}"):
        build(resolve(config))


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("slots", 65, r"slots must lie in \[2, 64\], got 65"),
        ("dependence", 1.1, r"dependence must lie in \[0, 1\], got 1.1"),
        ("coverage", 0.0, r"coverage must lie in \(0, 1\], got 0.0"),
        ("choices", "4,5", "choices must name whole numbers from 2 to 128, such as 4 or 2-7-100, got '4,5'"),
    ],
)
def test_a_wrong_knob_of_a_structured_problem_is_refused_by_its_field(knob, value, message):
    config = importlib.import_module("configs.structured").get_config("smoke")
    config.structured[knob] = value
    with pytest.raises(ConfigError, match=f"config.structured.{message}"):
        build(resolve(config))


def test_knobs_of_a_structured_problem_reach_its_name_and_its_flags():
    config = importlib.import_module("configs.structured").get_config("smoke")
    config.structured.update(slots=3, choices="2-7", dependence=1, coverage=0.25)
    task = build(resolve(config)).task
    assert task == "structured_3x2-7_1.0_0.25"
    assert flags_of(task).endswith(
        " --config.structured.slots=3 --config.structured.choices=2-7 --config.structured.dependence=1.0 "
        "--config.structured.coverage=0.25"
    )


def test_paper_is_the_published_method_and_quick_lets_the_asm_propose_what_the_critics_choose():
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
    assert (quick.policy, quick.policy_config.select, quick.train.n_step) == ("spin_decode", "softmax", 10)


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
        ({"bins": 1}, "config.bins must lie in [2, 256], got 1"),
        ({"asm.masking": "bert"}, "masking must be 'fixed' or 'full_range', got 'bert'"),
        ({"data.mode": "disk"}, "config.data.mode must be 'memory' or 'stream', got 'disk'"),
        ({"asm.dropout": 1.0}, "config.asm.dropout must lie in [0, 0.99], got 1.0"),
        ({"ope.steps": 1000}, "are too few for gamma 0.99: at least 4 / (1 - gamma) = 400 are needed"),
        ({"ope.gamma": 1.0}, "config.ope.gamma must lie in [0, 1), got 1.0"),
        ({"data.num_workers": -7}, "config.data.num_workers must lie in [0, 4096] or be -1, got -7"),
        ({"seed": 2**40}, "config.seed must lie in [0, 4294967295], got 1099511627776"),
        ({"seed": 2**32 - 1, "num_seeds": 2}, "config.seed + config.num_seeds - 1 must be at most 4294967295"),
        ({"asm.width": 10, "asm.num_heads": 4}, "config.asm.width 10 must be divisible by num_heads 4"),
        ({"asm.replace_mask": 0.9, "asm.replace_random": 0.2}, "must sum to at most 1"),
        (
            {"iql.extract_after": 10**6, "train.num_steps": 80},
            "config.iql.extract_after=1000000 leaves the policy no step",
        ),
        ({"iql.extract_after": 80, "train.num_steps": 80}, "config.iql.extract_after=80 leaves the policy no step"),
        ({"policy": "spin_cached", "asm.state_free": True}, "spin_cached sees the state only through the ASM"),
        ({"iql.gamma": float("nan")}, "config.iql.gamma must be a finite number, got nan"),
        ({"iql.weight_clip": 0.0}, "config.iql.weight_clip must lie in (0, 1e+06], got 0.0"),
        ({"cql.alpha": -1.0}, "config.cql.alpha must lie in [0, 1e+06], got -1.0"),
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


def bad_values(declared):
    """Values of wrong types, and just outside of the declared range; none for a field without a rule."""
    if get_origin(declared) is Literal:
        return ["nonsense", 3, None]
    kind, *rules = get_args(declared) if get_origin(declared) is Annotated else (declared,)
    if kind not in KINDS:
        return []
    values = {int: ["text", None, True, 1.5, nan, inf], float: ["text", None, True, nan, inf, -inf], str: [3, None]}
    beyond = [v for rule in rules for v in (rule.low - 1, rule.low - 1e-6, rule.low, rule.high, rule.high + 1)]
    return values.get(kind, ["yes", 1, None]) + [v for v in beyond if not rules[0].holds(v)]


AUTO = {"seeds_per_batch": 0, "factored.dropout": -1, "iql.extract_after": -1}  # decided before they are checked
FIELDS = [
    pytest.param(f"{name}.{field.name}".lstrip("."), field.type, id=f"{name}.{field.name}")
    for name, kind in (sections() | {"": RunConfig, "data.columns": ColumnConfig}).items()
    for field in dataclasses.fields(kind)
    if "from" not in field.metadata and not dataclasses.is_dataclass(field.type) and field.type is not Any
]


@pytest.mark.parametrize(("path", "declared"), FIELDS)
def test_no_field_takes_a_wrong_type_or_a_value_out_of_its_range(path, declared):
    """Generated from the declarations, so that a new field is covered on the day it is added."""
    bad = [value for value in bad_values(declared) if value != AUTO.get(path, "")]
    assert len(bad) >= 2
    for value in bad:
        values = get_config("paper").to_dict()
        *outer, name = path.split(".")
        functools.reduce(dict.__getitem__, outer, values)[name] = value  # a ConfigDict would convert it
        with pytest.raises(ConfigError, match=rf"config\.{re.escape(path)}\b"):
            print(path, value, build(resolve(ConfigDict(values))))


def test_every_number_of_a_configuration_has_a_range():
    declared = dict(param.values for param in FIELDS)
    found = ConfigDict(get_config("quick").to_dict()).to_dict()
    leaves = {path: value for path, value in flat(found).items() if type(value) in (int, float)}
    assert len(leaves) > 80
    for path in leaves:
        assert get_origin(declared[path]) is Annotated, path


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
    assert (run.policy, run.train.n_step) == ("spin_warm", 1)  # its probabilities have a closed form
    assert stages_of(run, STAGES) == ["data", "pretrain", "policy", "ope"]
    with pytest.raises(ConfigError, match="log has no simulator. --stage=ope judges the policy from the log"):
        stages_of(run, ("evaluate",))
    assert stages_of(build(resolve(get_config("quick"))), STAGES) == ["data", "pretrain", "policy", "evaluate"]


def test_a_stream_is_not_judged_from_the_log():
    config = importlib.import_module("configs.log").get_config("quick")
    config.data.update(path="a table", mode="stream")
    run = build(resolve(config))
    assert stages_of(run, STAGES) == ["data", "pretrain", "policy"]
    refused = "--stage=ope reads the whole log at once: it needs config.data.mode=memory"
    for stages in (("ope",), ("policy", "ope")):
        with pytest.raises(ConfigError, match=refused):
            stages_of(run, stages)


def test_no_asm_is_trained_where_one_is_named():
    config = get_config("quick")
    config.asm.path = "/somewhere/asm"
    run = build(resolve(config))
    assert stages_of(run, STAGES) == ["data", "policy", "evaluate"]
    assert stages_of(run, ("pretrain",)) == ["pretrain"]  # what is asked for by name


@pytest.mark.parametrize("name", ["bc", "asm"])
def test_the_best_episodes_alone_need_the_log_in_memory(name):
    config = get_config("quick")
    config.update_from_flattened_dict({"policy": "factored", "learner": "bc", "data.mode": "stream"})
    build(resolve(config))
    config[name].top_fraction = 0.1
    with pytest.raises(ConfigError, match=f"{name}.top_fraction < 1 needs data.mode='memory'"):
        build(resolve(config))


def test_hints():
    assert did_you_mean("qick", ["quick", "paper"]) == " Did you mean 'quick'?"
    assert did_you_mean("zzz", ["quick", "paper"]) == " Known: paper, quick."
    line = explain_flag_error(["main.py", "--config.asm.wdth=3"], AttributeError("'wdth'"))
    assert line == "config.asm.wdth: no such field. The fields and what they mean: configs/base.py."
    assert worker_processes(3) == 3
    assert worker_processes(0) == 0
    assert worker_processes(-1) >= 0
