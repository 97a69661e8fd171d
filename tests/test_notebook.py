"""The notebook of a table of decisions, run as a script, as a user would run it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def test_the_notebook_runs_from_a_data_frame_to_an_action(tmp_path, quick_children):
    cells = json.loads((ROOT / "docs" / "own_log.ipynb").read_text())["cells"]
    script = tmp_path / "own_log.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    with script.open("a") as file:
        file.write("\nprint(policy.act({'age': 30, 'interest': 0.9}), results['off_policy']['log_return'])\n")
    flags = os.environ["XLA_FLAGS"].replace(quick_children, "")  # with thousands of steps, quick code counts
    environment = os.environ | {"TMPDIR": str(tmp_path), "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("What was understood of shop", "3 slots, 96 joint actions", "the log itself", "{'discount': '"):
        assert said in done.stdout + done.stderr, said
