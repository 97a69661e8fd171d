"""What the user of a trained policy needs besides its parameters: spaces, normaliser, and observations to try it on.

Stage 2 leaves this beside its checkpoints, so that a workdir can be loaded where its log is not.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from spin_jax.data import spaces as vocabulary
from spin_jax.data.dataset import Dataset
from spin_jax.errors import CheckpointError, DataError
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.record.files import NUMBER, Each, Fields, read_json, replacing, write_json
from spin_jax.record.processes import is_first
from spin_jax.stages.members import Member
from spin_jax.types import ActionSpec, Normaliser, Spaces

FILE, ROWS = "interface.json", "rows.npy"
NUM_ROWS = 1000  # the most observations that are kept
WAY_OUT = "Restore it from a copy; or delete it and run main.py with --stage=policy, which writes it anew."
FIELDS: Fields = {
    "normaliser": {"mean": Each(list, NUMBER), "std": Each(list, NUMBER), "clip": (*NUMBER, type(None))},
    "fingerprint": str,
}


@dataclasses.dataclass(frozen=True)
class Interface:
    """The spaces of a trained policy, the normaliser of its observations [S], and the fingerprint of its log."""

    spaces: Spaces
    normaliser: Normaliser
    fingerprint: str

    @property
    def spec(self) -> ActionSpec:
        return self.spaces.spec

    @property
    def num_features(self) -> int:
        return self.spaces.num_features

    @property
    def blank(self) -> np.ndarray:
        return np.zeros((1, self.num_features), np.float32)


def normaliser_to_json(normaliser: Normaliser) -> dict:
    """The normaliser as values of JSON; clip None stands for no clipping."""
    mean, std, clip = (np.asarray(x, np.float32).tolist() for x in normaliser)
    return {"mean": mean, "std": std, "clip": clip if np.isfinite(clip) else None}


def normaliser_from_json(values: dict) -> Normaliser:
    """The inverse of `normaliser_to_json`."""
    clip = np.inf if values["clip"] is None else values["clip"]
    return Normaliser(np.array(values["mean"], np.float32), np.array(values["std"], np.float32), np.float32(clip))


def write_interfaces(team: Sequence[Member], asms: Sequence[FrozenASM], dataset: Dataset, resumed: bool) -> None:
    """Writes policy/interface.json and policy/rows.npy of every member; where training resumes, only missing ones.

    Names of features, slots and choices that were corrected in the log are written anew all the same. Process 0 writes.
    The rows are at most NUM_ROWS observations of the probe, spread evenly over it, not normalised.
    """
    if not is_first():
        return
    observation = dataset.probe.observation
    rows = observation[np.linspace(0, len(observation) - 1, min(NUM_ROWS, len(observation))).astype(int)]
    for member, asm in zip(team, asms, strict=True):
        directory = member.workdir.stage("policy")
        if not (resumed and (directory / ROWS).exists()):
            with replacing(directory / ROWS) as file:
                np.save(file, np.asarray(rows, np.float32), allow_pickle=False)
        words = vocabulary.to_json(dataset.spaces)
        if not (resumed and (directory / FILE).exists()):
            facts = {"normaliser": normaliser_to_json(asm.normaliser), "fingerprint": dataset.fingerprint}
            write_json(directory / FILE, words | facts)
            continue
        with contextlib.suppress(CheckpointError):  # a damaged one is left to who reads it
            stored = read_json(directory / FILE, CheckpointError, WAY_OUT, FIELDS)
            if stored | words != stored:
                write_json(directory / FILE, stored | words)


def read_interface(workdir: pathlib.Path) -> tuple[Interface, np.ndarray]:
    """(interface, rows [<= NUM_ROWS, S]) of a trained policy's workdir.

    Raises CheckpointError if stage 2 has not begun there, or if a file is damaged.
    """
    path = workdir / "policy" / FILE
    if not path.exists():
        raise CheckpointError(
            f"No trained policy in {workdir}: {path} is missing. Run main.py with --stage=policy there."
        )
    values = read_json(path, CheckpointError, WAY_OUT, FIELDS)
    normaliser = normaliser_from_json(values["normaliser"])
    try:
        spaces = vocabulary.from_json(values, path)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    found = Interface(spaces, normaliser, values["fingerprint"])
    widths = {len(normaliser.mean), len(normaliser.std), found.num_features}
    if len(widths) > 1:
        raise CheckpointError(f"{path} is damaged: its normaliser has not {found.num_features} features. {WAY_OUT}")
    return found, _read_rows(path.with_name(ROWS), found.num_features)


def _read_rows(path: pathlib.Path, num_features: int) -> np.ndarray:
    """Observations [<= NUM_ROWS, S] that are finite float32."""
    try:
        rows = np.load(path, allow_pickle=False)
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != num_features or not np.isfinite(rows).all():
            raise ValueError(f"it holds {rows.dtype} {list(rows.shape)}, needed finite float32 [rows, {num_features}]")
    except (OSError, EOFError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged and cannot be read ({error}). {WAY_OUT}") from error
    return rows
