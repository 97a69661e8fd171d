"""A table that nobody prepared, from the file to a judged policy, without a simulator."""

import csv
import json
import shutil

import numpy as np
import pytest

from configs.log import get_config
from spin_jax import run as main
from spin_jax.data.spaces import read_spaces
from spin_jax.errors import CheckpointError, ConfigError
from spin_jax.export.api import load
from spin_jax.stages import STAGES
from spin_jax.stages.make_data import directory_of

pytestmark = pytest.mark.slow
CHANNELS = ("email", "push", "sms")
FIELDS = ("customer", "hour", "age", "mood", "offer", "channel", "reward", "p")
COLUMNS = {"action": "offer,channel", "episode": "customer", "step": "hour", "propensity": "p"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """40 customers with 10 hours each; a yes pays 1, and the right channel 1; uniform choices."""
    path, rng = tmp_path_factory.mktemp("table") / "shop.csv", np.random.default_rng(0)
    with path.open("w") as file:
        rows = csv.DictWriter(file, FIELDS)
        rows.writeheader()
        for customer in range(40):
            age = rng.integers(18, 80)
            for hour in range(10):
                mood, offer, channel = rng.normal(), rng.choice(("yes", "no")), rng.choice(CHANNELS)
                reward = float(offer == "yes") + float(channel == CHANNELS[int(mood > 0)])
                values = (f"c{customer}", hour, age, mood, offer, channel, reward, 1 / 6)
                rows.writerow(dict(zip(FIELDS, values, strict=True)))
    return path


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    """(workdir, results) of preset smoke."""
    config, workdir = get_config("smoke"), tmp_path_factory.mktemp("log") / "run"
    config.data.update(path=str(table), dir=str(workdir.parent / "data"))
    config.data.columns.update(COLUMNS)
    config.train.keep_policies = 2
    return config, workdir, main.run(config, str(workdir), STAGES)


def test_a_table_ends_in_a_judgement(finished, capsys):
    config, workdir, results = finished
    assert results["return_mean"] is None
    found = results["off_policy"]
    assert set(found["policies"]) == {"spin_warm, step 60", "spin_warm, step 80", "behaviour, cloned", "uniform"}
    assert found["slots"] == ["offer", "channel"]
    assert found["measured_on"] == "held_out"
    assert found["episodes"] == 8
    for name, one in found["policies"].items():
        assert one["low"] <= one["mean"] <= one["high"], name
        assert len(one["effective_share"]) == 2
        assert 1 <= one["effective_episodes"] <= 8 if name != "behaviour, cloned" else True
    assert found["policies"]["uniform"]["importance_sampled"] == pytest.approx(found["log_return"])  # it made the log
    for name in ("results.json", "curves.png", "off_policy.png", "ope/summary.json"):
        assert (workdir / name).stat().st_size > 0, name


def test_a_stream_ends_in_a_report_and_says_why_it_is_not_judged(finished, tmp_path, capfd):
    config = finished[0].copy_and_resolve_references()
    config.data.mode = "stream"
    results = main.run(config, str(tmp_path / "run"), STAGES)
    assert results["off_policy"] is None
    assert json.loads((tmp_path / "run" / "results.json").read_text())["transitions"] == 320
    told = capfd.readouterr()
    assert "the log it was trained on" in told.out
    assert "The policy is not judged: that reads the whole log at once" in told.err
    beside = main.run(finished[0], str(finished[1]), ("ope",), others=[str(tmp_path / "run")])
    assert "run: spin_warm, step 80" in beside["off_policy"]["policies"]  # the way out that it names


def test_what_is_judged_is_not_judged_again(finished, monkeypatch):
    config, workdir, results = finished
    monkeypatch.setattr("spin_jax.stages.off_policy.fitted_value", None)
    again = main.run(config, str(workdir), ("ope",))
    assert again["off_policy"]["policies"] == results["off_policy"]["policies"]
    assert json.loads((workdir / "config.json").read_text())["data"]["columns"]["action"] == "offer,channel"


def test_changed_settings_are_judged_anew(finished, monkeypatch):
    config, workdir, _ = finished
    kept, asked = (workdir / "ope" / "uniform.json").read_text(), []
    monkeypatch.setattr("spin_jax.stages.off_policy.fitted_value", lambda *args: asked.append(args[-1]) or 1 / 0)
    for section, field, value in (("ope", "steps", 2 * config.ope.steps), ("eval", "mode", "greedy")):
        changed = config.copy_and_resolve_references()
        changed[section][field] = value
        with pytest.raises(ZeroDivisionError):
            main.run(changed, str(workdir), ("ope",))
    assert asked == ["ope: spin_warm, step 60"] * 2
    assert (workdir / "ope" / "uniform.json").read_text() == kept


def test_the_best_kept_step_is_the_supported_one_of_the_highest_value(finished, tmp_path):
    _, workdir, results = finished
    found = results["off_policy"]["policies"]
    steps = {one["step"]: one for one in found.values() if "step" in one}
    assert sorted(steps) == [60, 80]
    assert (results["off_policy"]["step"], results["off_policy"]["num_steps"]) == (80, 80)
    assert load(workdir).header["step"] == 80
    assert load(workdir, step=60).header["step"] == 60
    with pytest.raises(CheckpointError, match=r"holds no step 70; saved steps: \[60, 80\]"):
        load(workdir, step=70)
    copy = shutil.copytree(workdir, tmp_path / "copy")
    for better in steps:
        for step, one in steps.items():
            one.update(supported=True, mean=float(step == better))
        (copy / "ope" / "summary.json").write_text(json.dumps(results["off_policy"] | {"policies": found}))
        assert load(copy, step="best").header["step"] == better
        steps[better]["supported"] = False
        (copy / "ope" / "summary.json").write_text(json.dumps(results["off_policy"] | {"policies": found}))
        assert load(copy, step="best").header["step"] == 140 - better
    (copy / "ope" / "summary.json").unlink()
    with pytest.raises(ConfigError, match="The best step is what --stage=ope finds"):
        load(copy, step="best")


def test_the_policy_of_another_run_is_judged_beside_it(finished, tmp_path, capfd):
    config, workdir, results = finished
    theirs = shutil.copytree(workdir, tmp_path / "theirs")
    again = main.run(config, str(workdir), ("ope",), others=[str(theirs)])["off_policy"]["policies"]
    ours, copied = again["spin_warm, step 80"], again["theirs: spin_warm, step 80"]
    assert copied["workdir"] == str(theirs)
    for figure in ("mean", "low", "high", "coverage", "verdict"):  # the same policy; it samples other actions
        assert np.ravel(copied[figure])[0] == pytest.approx(np.ravel(ours[figure])[0], rel=0.1), figure
    assert "theirs: spin_warm, step 80" in capfd.readouterr().out
    assert set(again) - set(results["off_policy"]["policies"]) == {"theirs: spin_warm, step 80"}
    other = shutil.copytree(theirs, tmp_path / "other" / "theirs")
    with pytest.raises(ConfigError, match="names two policies that are called 'theirs: spin_warm, step 80': rename"):
        main.run(config, str(workdir), ("ope",), others=[str(theirs), str(other)])


def test_a_policy_whose_parameters_changed_is_judged_anew(finished, tmp_path):
    config, workdir, _ = finished
    mine = shutil.copytree(workdir, tmp_path / "mine")
    (record,) = mine.glob("ope/spin_warm_step_80.json")
    kept = json.loads(record.read_text())
    lie = kept["figures"] | {"mean": 1e6}
    record.write_text(json.dumps(kept | {"figures": lie}))
    again = main.run(config, str(mine), ("ope",))["off_policy"]["policies"]["spin_warm, step 80"]
    assert again["mean"] == 1e6  # the same parameters: what was recorded
    record.write_text(json.dumps({"settings": kept["settings"] | {"policy": "of other parameters"}, "figures": lie}))
    again = main.run(config, str(mine), ("ope",))["off_policy"]["policies"]["spin_warm, step 80"]
    assert again["mean"] == pytest.approx(kept["figures"]["mean"])


def test_a_policy_of_other_choices_is_not_judged(finished, tmp_path):
    config, workdir, _ = finished
    theirs = shutil.copytree(workdir, tmp_path / "theirs")
    interface = theirs / "policy" / "interface.json"
    whole = interface.read_text()
    for old, new in (('"sms"', '"letter"'), ('"age"', '"years"')):
        interface.write_text(whole.replace(old, new))
        with pytest.raises(ConfigError, match="--against=.*names of choices must be equal, too, and those of features"):
            main.run(config, str(workdir), ("ope",), others=[str(theirs)])


def test_the_data_set_keeps_the_words_of_the_table(finished):
    from spin_jax.config.auto import resolve
    from spin_jax.config.build import build

    spaces = read_spaces(directory_of(build(resolve(finished[0]))))
    assert spaces.choices == (("no", "yes"), CHANNELS)
    assert [feature.name for feature in spaces.features] == ["age", "mood"]
