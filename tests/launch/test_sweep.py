"""launch.sweep: the commands it prints, against lines written by hand, and everything it refuses."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from launch.sweep import commands, load_runs
from spin_jax.errors import ConfigError

ROOT = pathlib.Path(__file__).parent.parent.parent
MAIN = "python main.py --config=configs/"


def test_hand_checked_commands():
    runs = [
        {"task": "dog_trot", "policy": "spin", "learner": "iql", "seed": 0, "level": "expert"},
        {"task": "dog_trot", "policy": "saint", "learner": "iql", "seed": 1, "level": "expert"},
        {"task": "dog_trot", "policy": "spin", "learner": "iql", "config.asm.width": 64, "level": "expert"},
    ]
    same = "--config.learner=iql"
    assert commands(runs, "/tmp/runs/") == [
        f"{MAIN}dog_trot.py --workdir=/tmp/runs/spin-seed=0 --config.policy=spin {same} --config.seed=0"
        " --config.data.level=expert",
        f"{MAIN}dog_trot.py --workdir=/tmp/runs/saint-seed=1 --config.policy=saint {same} --config.seed=1"
        " --config.data.level=expert",
        f"{MAIN}dog_trot.py --workdir=/tmp/runs/spin-asm.width=64 --config.policy=spin {same}"
        " --config.asm.width=64 --config.data.level=expert",
    ]


def test_presets_and_several_seeds():
    runs = [{"task": "fish_swim", "preset": preset, "num_seeds": 3} for preset in ("quick", "smoke")]
    assert commands(runs, "runs") == [
        f"{MAIN}fish_swim.py:quick --workdir=runs/quick --config.num_seeds=3",
        f"{MAIN}fish_swim.py:smoke --workdir=runs/smoke --config.num_seeds=3",
    ]


def test_one_run_is_named_after_its_task_and_a_run_without_settings_is_the_default():
    assert commands([{"task": "fish_swim"}], "runs") == [f"{MAIN}fish_swim.py --workdir=runs/fish_swim"]
    both = commands([{"task": "fish_swim"}, {"task": "fish_swim", "seed": 1}], "runs")
    assert [re.search("--workdir=(.*?)( |$)", line)[1] for line in both] == ["runs/default", "runs/seed=1"]


def test_a_task_of_many_sizes_is_named_as_its_file():
    runs = [{"task": "maze", "config.maze.actuators": 7}, {"task": "structured", "config.structured.dependence": 1.0}]
    assert commands(runs, "runs")[0] == f"{MAIN}maze.py --workdir=runs/maze-maze.actuators=7 --config.maze.actuators=7"
    with pytest.raises(ConfigError, match="task is 'maze_7'. Did you mean 'maze'"):
        commands([{"task": "maze_7"}], "runs")


def test_a_shell_reads_back_every_argument():
    runs = [{"task": "fish_swim", "config.asm.path": "/a folder/it's"}, {"task": "fish_swim", "level": "expert[:10%]"}]
    lines = commands(runs, "my runs")
    assert shlex.split(lines[0])[3:] == [
        "--workdir=my runs/asm.path=_a_folder_it_s",
        "--config.asm.path=/a folder/it's",
    ]
    assert shlex.split(lines[1])[3:] == ["--workdir=my runs/expert__10__", "--config.data.level=expert[:10%]"]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"task": "dog_trott"}, "task is 'dog_trott'. Did you mean 'dog_trot'?"),
        ({"task": "dog_trot", "policy": "spim"}, "policy is 'spim'. Did you mean 'spin'?"),
        ({"task": "dog_trot", "learner": "iqn"}, "learner is 'iqn'. Did you mean 'iql'?"),
        ({"task": "dog_trot", "preset": "fast"}, "Unknown preset 'fast'; presets: paper, quick, smoke."),
        ({"task": "dog_trot", "polcy": "spin"}, "add() has no argument 'polcy'. Did you mean 'policy'?"),
        ({"policy": "spin"}, "add() needs task, got {'policy': 'spin'}."),
        (
            {"task": "dog_trot", "config.asm.widht": 64},
            "config.asm.widht is no field of the configuration. Did you mean 'config.asm.width'?",
        ),
        ({"task": "dog_trot", "seed": "one"}, "config.seed cannot be 'one'"),
    ],
)
def test_a_wrong_run_is_refused_in_one_line(run, message):
    with pytest.raises(ConfigError) as error:
        commands([run], "runs")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_duplicate_runs_are_refused_even_if_written_differently():
    """Seed 0 is the default, so both are the same run."""
    with pytest.raises(ConfigError, match=re.escape("runs 1 and 3 are the same: {'task': 'dog_trot'} and {'task':")):
        commands([{"task": "dog_trot"}, {"task": "fish_swim"}, {"task": "dog_trot", "seed": 0}], "runs")


def test_runs_that_would_share_a_folder_are_refused():
    runs = [{"task": "dog_trot", "config.asm.path": path} for path in ("/a/b", "/a_b")]
    with pytest.raises(ConfigError, match="runs 1 and 2 would share the folder 'asm.path=_a_b'"):
        commands(runs, "runs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("x = 1", "defines no function sweep"),
        ("def sweep(add):\n    pass", "added no run"),
        ("def sweep(add)\n    pass", "line 1: expected ':'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "sweep.py").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_runs(str(tmp_path / "sweep.py"))


def test_the_example_is_the_papers_comparison():
    lines = commands(load_runs(str(ROOT / "launch" / "example_sweep.py")), "runs")
    assert len(lines) == 3 * 3 * 3 * 5
    assert len({line.split()[3] for line in lines}) == len(lines)
    assert lines[-1] == (
        f"{MAIN}dog_trot.py --workdir=runs/dog_trot-factored-bcq-seed=4 --config.policy=factored"
        " --config.learner=bcq --config.seed=4"
    )


def test_the_command_prints_lines_and_ends_in_one_line_on_an_error(tmp_path):
    (tmp_path / "good.py").write_text("def sweep(add):\n    add(task='dog_trot', seed=3)")
    (tmp_path / "bad.py").write_text("def sweep(add):\n    add(task='dogtrot')")

    def sweep(name):
        command = [sys.executable, "-m", "launch.sweep", str(tmp_path / name), "--workdir=runs"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert sweep("good.py").stdout == f"{MAIN}dog_trot.py --workdir=runs/dog_trot --config.seed=3\n"
    refused = sweep("bad.py")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "error: task is 'dogtrot'. Did you mean 'dog_trot'?\n"
