"""What a run tells people and programs while it works: progress, JSONL rows, TensorBoard scalars."""

import json
import logging
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence

from absl import logging as absl_logging
from tensorboardX import SummaryWriter
from tqdm import tqdm

log = logging.getLogger("spin_jax")


class _Handler(logging.Handler):
    """Lines on standard error, above a progress bar where there is one."""

    def emit(self, record):
        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging():
    """Our own messages as plain lines on standard error; of the libraries beneath only errors."""
    absl_logging.set_verbosity(absl_logging.ERROR)
    if not log.handlers:
        handler = _Handler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


class Progress:
    """A bar with rate and time left on a terminal; elsewhere a plain line every `every_seconds`."""

    def __init__(self, what: str, total: int, start: int = 0, unit: str = "step", every_seconds: float = 15.0):
        self._what, self._total, self._unit, self._every = what, total, unit, every_seconds
        self._first, self._step = start, start
        self._begin = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=start, desc=what, unit=unit, unit_scale=True, dynamic_ncols=True)

    def update(self, step: int, **shown: float):
        """Now at `step`, with a few figures to show beside it."""
        shown = {k: f"{v:.4g}" for k, v in shown.items()}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._step)
        self._step = step
        now = time.monotonic()
        if self._bar is None and (now - self._last >= self._every or step >= self._total):
            self._last = now
            rate = (step - self._first) / max(now - self._begin, 1e-9)
            left = (self._total - step) / max(rate, 1e-9)
            figures = " ".join(f"{k}={v}" for k, v in shown.items())
            log.info(
                f"{self._what}: {step}/{self._total} {self._unit}s, {rate:.1f}/s, {left:.0f} s left"
                + (f", {figures}" if figures else "")
            )

    def close(self):
        if self._bar is not None:
            self._bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def watched(items: Sequence, what: str, unit: str) -> Iterator:
    """The items one by one, with their Progress."""
    with Progress(what, len(items), unit=unit) as progress:
        for number, item in enumerate(items, 1):
            yield item
            progress.update(number)


def read_rows(path: str | pathlib.Path) -> list[dict]:
    """Rows of a JSONL file, [] where there is none; a last line cut by a kill is left out."""
    path = pathlib.Path(path)
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class MetricsWriter:
    """Rows {step, seconds, …} to `directory`/metrics.jsonl and TensorBoard.

    Resumed at `start_step`, it drops the rows beyond that step (they are computed again) and goes on counting
    the seconds of the run from there.
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
        """Wall-clock seconds of this stage, those before an interruption included."""
        return self._before + time.monotonic() - self._begin

    def write(self, step: int, seconds: float | None = None, **values: float):
        """A row; seconds: when, where that was before now."""
        seconds = round(self.seconds if seconds is None else seconds, 3)
        row = {"step": step, "seconds": seconds, **{k: float(v) for k, v in values.items()}}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)

    def rows(self) -> list[dict]:
        """What has been written."""
        return read_rows(self._path)

    def close(self):
        self._board.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
