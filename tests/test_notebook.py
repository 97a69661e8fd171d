"""The notebook of a table of decisions, run as a script, with few steps."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = pytest.mark.slow
SHORTER = {
    "num_steps=4_000, checkpoint_every_steps=1_000": "num_steps=100, checkpoint_every_steps=100",
    "steps=2_000, tau=0.2, clone_steps=1_000": "steps=400, tau=1.0, clone_steps=100",
}


def test_the_notebook_runs_from_a_data_frame_to_an_action(tmp_path):
    cells = json.loads((ROOT / "docs" / "own_log.ipynb").read_text())["cells"]
    script = tmp_path / "own_log.py"
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for long, short in SHORTER.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    script.write_text(
        f"{code}\nprint(policy.act({{'age': 30, 'interest': 0.9}}), results['off_policy']['log_return'])\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("What was understood of shop", "3 slots, 96 joint actions", "the log itself", "{'discount': '"):
        assert said in done.stdout + done.stderr, said
