"""Every registered policy and learner from end to end: `main.run`, preset smoke, one log and one ASM for all."""

import json

import pytest
from pairs import PAIRS

from configs.cheetah_run import get_config
from spin_jax import run as main
from spin_jax.errors import ConfigError
from spin_jax.registry import POLICIES
from spin_jax.stages import STAGES, estimate

pytestmark = pytest.mark.slow
SHRUNK = {
    "data.episodes": 2,
    "asm.num_epochs": 1,
    "spin_distill.steps": 4,
    "train.num_steps": 4,
    "train.checkpoint_every_steps": 2,
    "eval.every_steps": 4,
    "eval.episodes": 1,
    "eval.final_episodes": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(name, stages, **overrides) -> results, in one place; the log and the ASM are made by the first call."""
    root = tmp_path_factory.mktemp("registry")
    patch = pytest.MonkeyPatch()
    patch.setattr(estimate, "announce", lambda *_: None)  # 40 runs of a few seconds: tests/stages/test_estimate.py

    def run(name, stages, overrides):
        config = get_config("smoke")
        config.update_from_flattened_dict({"data.dir": str(root / "data"), **SHRUNK, **overrides})
        return main.run(config, str(root / name), stages)

    run("asm", ("data", "pretrain"), {})
    run.root, run.asm = root, {"asm.path": str(root / "asm" / "asm")}
    yield run
    patch.undo()


@pytest.mark.parametrize(("learner", "policy"), PAIRS)
def test_every_registered_name_runs_from_end_to_end(run, learner, policy):
    name = f"{learner}-{policy}"
    entry = POLICIES[policy]
    chosen = {"policy": policy, "learner": learner, **(run.asm if entry.reads_asm else {})}
    results = run(name, ("distill", "policy", "evaluate") if entry.reads_asm else STAGES[1:], chosen)
    assert (results["policy"], results["learner"]) == (policy, learner)
    assert (results["parameters"]["trained"] > 0) == (policy != "spin_decode")
    assert (results["parameters"]["frozen"] > 0) == POLICIES[policy].reads_asm
    assert json.loads((run.root / name / "results.json").read_text())["return_mean"] == results["return_mean"]
    assert (run.root / name / "curves.png").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"policy": "factored", "learner": "cql", "cql.penalty": "candidates"}, "this policy reads none: use 'slots'"),
        ({"policy": "spin_cached", "data.mode": "stream"}, "it needs data.mode='memory'"),
        ({"policy": "saint", "stages": ("pretrain",)}, "--stage=pretrain: policy saint has no such stage"),
        ({"stages": ("distill",)}, "--stage=distill: policy spin_warm has no such stage. Policies that have: spin_dis"),
        (
            {"policy": "spin_distill", "spin_distill.head_width": 5},
            "heads of width 16, but the policy's head_width is 5",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(run, overrides, message):
    stages = overrides.pop("stages", STAGES)
    with pytest.raises(ConfigError, match=message):
        run("refused", stages, overrides)
    assert not (run.root / "refused").exists()


@pytest.mark.parametrize(
    "overrides", [{"cql.penalty": "candidates", "cql.candidates": 4}, {"spin.finetune": "trained"}]
)
def test_options_run_from_end_to_end(run, overrides):
    name = next(iter(overrides))
    assert run(name, ("policy", "evaluate"), {"learner": "cql", **run.asm, **overrides})["updates_per_second"] > 0
