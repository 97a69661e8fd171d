"""Smoke runs in processes of their own, as a user starts them, and the arrays that they leave."""

import pathlib
import subprocess
import sys

import numpy as np

from spin_jax.record.checkpoint import CheckpointStore

ROOT = pathlib.Path(__file__).parent.parent


def start(workdir, data, *arguments, preset="smoke", wait=True):
    command = [sys.executable, "main.py", f"--config=configs/cheetah_run.py:{preset}", f"--workdir={workdir}"]
    command += [f"--config.data.dir={data}", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not wait:
        return process
    out, error = process.communicate(timeout=400)
    return process.returncode, out, error


def arrays(store: pathlib.Path, step: int | None = None) -> dict:
    """Every array of a checkpoint, the latest unless `step` names one, as it is on disk."""
    import orbax.checkpoint as ocp

    step = CheckpointStore(store).steps()[-1] if step is None else step
    restored = ocp.StandardCheckpointer().restore(store / str(step) / "arrays")
    return {name: np.asarray(value) for name, value in restored.items()}
