"""The metrics of a run, for programs: JSONL rows and TensorBoard scalars."""

import json
import os
import pathlib
import time

from tensorboardX import SummaryWriter

from spin_jax.errors import WorkdirError
from spin_jax.record.files import appending, read_bytes, write_text
from spin_jax.record.inputs import file_digest
from spin_jax.record.progress import log

WAY_OUT = "Move it away: training continues from its checkpoint, and the curves begin there."


def read_rows(path: str | pathlib.Path) -> list[dict]:
    """Rows of a JSONL file, [] if it does not exist; damaged lines are left out, and those amid others are counted.

    A last line without its end is what a kill leaves, and nothing is said of it. Raises WorkdirError if the file cannot
    be read.
    """
    path = pathlib.Path(path)
    *lines, cut = read_bytes(path, WorkdirError, WAY_OUT).split(b"\n") if os.path.lexists(path) else [b""]
    rows = [row for row in map(_row, lines) if row is not None]
    if len(rows) < len(lines):
        log.warning(f"{path}: {len(lines) - len(rows)} of {len(lines)} lines are damaged and left out")
    last = _row(cut)
    return rows if last is None else [*rows, last]


def _row(line: bytes) -> dict | None:
    """The row of a line; None if the line is damaged."""
    try:
        row = json.loads(line)
        known = isinstance(row.get("step"), int) and isinstance(row.get("seconds"), int | float)
        return row if known else None
    except (ValueError, AttributeError):  # no JSON, or JSON of something else
        return None


def check_rows(path: pathlib.Path, sha256: str | None) -> None:
    """Warns where the rows of a finished stage are not those that it left; sha256: of the file then, if recorded."""
    if sha256 is None or (path.is_file() and file_digest(path) == sha256):
        return
    log.warning(
        f"{path} is not as its stage left it (cut, damaged or edited): curves show what can be read; rows that cannot "
        f"be read are left out. Restore it from a copy. The policy and its figures do not come from this file."
    )


class MetricsWriter:
    """Writes rows {step, seconds, …} to `directory`/metrics.jsonl and TensorBoard.

    start_step: where a run resumes; None = it starts anew, and old rows are dropped. Of a run that resumes, rows beyond
    that step are dropped, because they are computed again. `seconds` continues from the last row kept, or from
    `seconds_before` if that is later, as an evaluation after that row took its time.
    """

    def __init__(self, directory: str | pathlib.Path, start_step: int | None = None, seconds_before: float = 0.0):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._path = self.directory / "metrics.jsonl"
        rows = [row for row in read_rows(self._path) if start_step is not None and row["step"] <= start_step]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        self._before = max([seconds_before, *(row["seconds"] for row in rows)])
        self._begin = time.monotonic()
        self._board = SummaryWriter(str(self.directory / "tensorboard"), purge_step=(start_step or 0) + 1)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this stage, including those before an interruption."""
        return self._before + time.monotonic() - self._begin

    def write(self, step: int, seconds: float | None = None, **values: float) -> None:
        """Appends a row; `seconds` overrides the timestamp of results computed earlier."""
        seconds = round(self.seconds if seconds is None else seconds, 3)
        row = {"step": step, "seconds": seconds, **{k: float(v) for k, v in values.items()}}
        with appending(self._path) as file:
            file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)

    def rows(self) -> list[dict]:
        """All rows written so far."""
        return read_rows(self._path)

    def sha256(self) -> str:
        """SHA-256 of metrics.jsonl as it is now."""
        return file_digest(self._path)

    def close(self) -> None:
        self._board.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
