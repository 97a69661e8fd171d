"""Every task's configuration, as its file makes it."""

import importlib
import json
import pathlib

import numpy as np
import pytest
from pairs import EVERY_PAIR

from spin_jax import run as main
from spin_jax.collect.policy_table import shipped
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.tasks import TASKS, family
from spin_jax.envs.traffic import TrafficEnv
from spin_jax.stages import STAGES, estimate

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
FILES = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem not in ("base", "__init__"))
LIKE_OTHERS = {"finger_spin", "fish_swim", "humanoid_stand", "quadruped_walk"}  # as cheetah_run and dog_trot
FEW_STEPS = {
    "data.episodes": 2, "asm.num_epochs": 1, "train.num_steps": 20, "train.checkpoint_every_steps": 20,
    "eval.every_steps": 20, "eval.episodes": 1, "eval.final_episodes": 1, "eval.num_workers": 0,
}  # fmt: skip


def get_config(name, preset):
    return importlib.import_module(f"configs.{name}").get_config(preset)


def test_there_is_a_file_for_every_task():
    assert {family(task) for task in TASKS} == set(FILES) - {"log"}


@pytest.mark.parametrize("preset", ["paper", "quick", "smoke"])
@pytest.mark.parametrize("name", FILES)
def test_every_configuration_loads(name, preset):
    run = build(resolve(get_config(name, preset)))
    assert family(run.task) == name


@pytest.mark.parametrize("name", FILES)
def test_a_file_opens_with_command_hardware_time_and_return(name):
    text = (CONFIGS / f"{name}.py").read_text()
    assert f"python main.py --config=configs/{name}.py:quick" in text
    assert "two CPU cores:" in text
    assert "return" in text or "not measured yet" in text


@pytest.fixture
def short_episodes(monkeypatch):
    """Episodes end after 60 control steps: without XLA's optimisations, whole ones would be most of the test."""
    make_dm_control, make_traffic = DMControlEnv.__init__, TrafficEnv.__init__

    def short_dm_control(self, *args):
        make_dm_control(self, *args)
        self._env._step_limit = 60

    def short_traffic(self, *args):
        make_traffic(self, *args)
        self._episode_steps = 60

    monkeypatch.setattr(DMControlEnv, "__init__", short_dm_control)
    monkeypatch.setattr(TrafficEnv, "__init__", short_traffic)


@pytest.mark.slow  # a log of one's own: test_main_log.py
@pytest.mark.usefixtures("short_episodes")
@pytest.mark.parametrize("name", [name for name in FILES if name != "log" and (EVERY_PAIR or name not in LIKE_OTHERS)])
def test_quick_runs_end_to_end_in_few_steps(name, tmp_path, monkeypatch):
    """The preset's own networks, data from the task's shipped policies, all stages."""
    monkeypatch.setattr(estimate, "announce", lambda *_: None)  # tests/stages/test_estimate.py
    if name == "traffic":
        pytest.importorskip("sumo", reason="SUMO is not installed (extra traffic)")
    config = get_config(name, "quick")
    config.update_from_flattened_dict({"data.dir": str(tmp_path / "data"), **FEW_STEPS})
    main.run(config, str(tmp_path / "work"), STAGES)
    results = json.loads((tmp_path / "work" / "results.json").read_text())
    assert family(results["task"]) == name
    assert np.isfinite(results["return_mean"])
    assert all(np.isfinite(value) for value in results["data_returns"].values())


SHIPPED = [
    pytest.param(card["task"], card["bins"], id=f"{card['task']}-{card['bins']}bins")
    for _, card in shipped()
    if card["level"] == "expert"
]


@pytest.mark.parametrize(("task", "bins"), SHIPPED)
def test_shipped_policies_are_worth_their_names(task, bins):
    """The cards: expert at least 60 % of the published one, medium 25 to 45 % of ours."""
    card = {c["level"]: c for _, c in shipped() if (c["task"], c["bins"]) == (task, bins)}
    assert card["expert"]["return_mean"] >= 0.6 * TASKS[task].reference_returns(bins)[1]
    assert 0.25 <= card["medium"]["return_mean"] / card["expert"]["return_mean"] <= 0.45
    assert {c["episodes"] for c in card.values()} == {20}
