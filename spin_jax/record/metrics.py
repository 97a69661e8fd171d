"""The metrics of a run, for programs: JSONL rows and TensorBoard scalars."""

import json
import pathlib
import time

from tensorboardX import SummaryWriter

from spin_jax.record.progress import log


def read_rows(path: str | pathlib.Path) -> list[dict]:
    """Rows of a JSONL file, [] if it does not exist; damaged lines are left out, and those amid others are counted.

    A last line without its end is what a kill leaves, and nothing is said of it.
    """
    path = pathlib.Path(path)
    *lines, cut = path.read_bytes().split(b"\n") if path.exists() else [b""]
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


class MetricsWriter:
    """Writes rows {step, seconds, …} to `directory`/metrics.jsonl and TensorBoard.

    When a run resumes at `start_step`, rows beyond that step are dropped, because they are computed again, and
    `seconds` continues from the last row kept.
    """

    def __init__(self, directory: str | pathlib.Path, start_step: int = 0):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._path = self.directory / "metrics.jsonl"
        rows = [row for row in read_rows(self._path) if row["step"] <= start_step and start_step > 0]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        temporary.replace(self._path)
        self._before = max((row["seconds"] for row in rows), default=0.0)
        self._begin = time.monotonic()
        self._board = SummaryWriter(str(self.directory / "tensorboard"), purge_step=start_step + 1)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this stage, including those before an interruption."""
        return self._before + time.monotonic() - self._begin

    def write(self, step: int, seconds: float | None = None, **values: float) -> None:
        """Appends a row; `seconds` overrides the timestamp of results computed earlier."""
        seconds = round(self.seconds if seconds is None else seconds, 3)
        row = {"step": step, "seconds": seconds, **{k: float(v) for k, v in values.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)

    def rows(self) -> list[dict]:
        """All rows written so far."""
        return read_rows(self._path)

    def close(self) -> None:
        self._board.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
