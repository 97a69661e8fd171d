"""Writes a trained policy in one of the formats, after comparing the file with the policy."""

import pathlib

from spin_jax.errors import ExportError
from spin_jax.export.api import from_trained, load
from spin_jax.export.check import check
from spin_jax.export.jax_format import write_jax
from spin_jax.export.numpy_format import write_numpy
from spin_jax.export.onnx_format import write_onnx
from spin_jax.export.trained import Trained, load_trained
from spin_jax.record.files import replacing
from spin_jax.record.progress import log

FORMATS = {"jax": write_jax, "onnx": write_onnx, "numpy": write_numpy}


def export_policy(
    workdir: pathlib.Path, out: pathlib.Path, kind: str, seed: int | None = None, step: int | str | None = None
) -> dict:
    """Writes a policy of a workdir (seed, step: as `load`) to the file `out`; returns the figures of `check`.

    kind: one of FORMATS. Raises ExportError if `out` exists or the file does not act as the policy does on the rows
    that stage 2 kept, and as `load_trained` and the writers.
    """
    out = out.expanduser().absolute()
    if out.exists():
        raise ExportError(f"--out={out} exists: choose another file, or delete it.")
    if not out.parent.is_dir():
        raise ExportError(f"--out={out}: there is no directory {out.parent}.")
    trained = load_trained(workdir, seed, step)
    log.info(f"export: {from_trained(trained)}, step {trained.step}")
    return write_checked(trained, out, kind)


def write_checked(trained: Trained, out: pathlib.Path, kind: str) -> dict:
    """Writes `out` beside its place, compares it with the policy, and moves it there if they agree."""
    with replacing(out) as file:
        FORMATS[kind](file, trained)
        file.flush()
        figures = check(load(file.name), from_trained(trained), trained.rows)
    equal = f"acts as the policy in {figures['rows']} rows of its log"
    if figures["ties"]:
        equal += f" ({figures['ties']} actions differ where two are equally good)"
    log.info(f"export: {out} ({kind}, {out.stat().st_size / 1e6:.1f} MB) {equal}")
    return figures
