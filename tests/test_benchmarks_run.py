"""Every benchmark in its smallest size, as a user starts it: a process of its own, with nothing but the install."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = pytest.mark.slow
# ROOT_DIR and JSON stand for a new folder and a file in it
SMALLEST = {
    "accelerator": "--task=cheetah_run --tiny --episodes=2 --rounds=1 --seeds=2 --root=ROOT_DIR",
    "bad_inputs": "--only=launch",
    "coherence": "--share=0",
    "data_rates": "--task=finger_spin --episodes=2 --repeats=1 --most=25600 --data_dir=ROOT_DIR",
    "eager_reference": "--task=finger_spin --policies=factored --batch=4 --rounds=1",
    "evaluation": "--tasks=finger_spin,maze --policy=factored --episodes=2 --steps=2 --rounds=1 --workers=1",
    "faults": "--only=hostile --every=2 --root=ROOT_DIR",
    "kills": "--kills=1 --policy=factored --option=--config.eval.episodes=1 --root=ROOT_DIR",
    "off_policy": "--task=finger_spin --preset=smoke --steps=10 --first=1 --root=ROOT_DIR --data_dir=ROOT_DIR/data",
    "parity": "--golden=ROOT_DIR",
    "scaling": "--axes=batch --first=1 --policies=spin_cached,saint --width=8 --rounds=1 --figure=ROOT_DIR/scaling.png",
    "step_time": "--tasks=finger_spin --policies=factored,saint --learners=iql --batch=4 --rounds=1 --matmul=64",
    "study": "maze --smallest --root=ROOT_DIR",
    "traffic_rules": "--episodes=1",
    "wallclock_vs_saint": "--preset=smoke --seeds=1 --systems=saint:train.num_steps=40,spin_warm --root=ROOT_DIR"
    " --figure=ROOT_DIR/curves.png -- --config.data.dir=ROOT_DIR/data --config.data.level=expert",
}
PARTS = {"__init__", "measure", "flops", "eager_torch", "bad_cases", "bad_commands", "bad_files"}
PARTS |= {"study_base", "study_jobs", "study_pool", "study_report"}
PARTS |= {"fault_base", "fault_files", "fault_processes"}  # of the others, not programs


def test_every_program_has_its_smallest_size():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - PARTS == set(SMALLEST)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_as_a_user_starts_it(name, tmp_path):
    if name == "eager_reference" and importlib.util.find_spec("torch") is None:
        pytest.skip("the eager reference needs torch, an optional extra")
    if name == "traffic_rules":
        pytest.importorskip("sumo", reason="SUMO is not installed (extra traffic)")
    if name == "parity":
        shutil.copy(ROOT / "tests/parity/bcq-factored.npz", tmp_path)
    arguments = SMALLEST[name].replace("ROOT_DIR", str(tmp_path)).split()
    written = tmp_path / ("report/study_maze.json" if name == "study" else "result.json")
    if name != "study":
        arguments.insert(0, f"--json={written}")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) > 1
    result = json.loads(written.read_text())
    assert {"device", "processor", "cores", "versions", "commit"} < result.keys()
    assert result["commit"]
