"""The progress of a run, for people: log lines and, on a terminal, a bar with the time left."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence

from absl import logging as absl_logging
from tqdm import tqdm

log = logging.getLogger("spin_jax")


class _Handler(logging.Handler):
    """Writes log lines to standard error, above the progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging(quiet: bool = False) -> None:
    """Shows this package's messages as plain lines on standard error; of libraries that use absl, only errors.

    quiet: neither messages nor progress, for all processes but the first.
    """
    absl_logging.set_verbosity(absl_logging.ERROR)
    if not log.handlers:
        handler = _Handler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False


class Progress:
    """On a terminal, a bar with rate and time left; elsewhere a plain line every `every_seconds`."""

    def __init__(self, what: str, total: int, start: int = 0, unit: str = "step", every_seconds: float = 15.0):
        self._what, self._total, self._unit, self._every = what, total, unit, every_seconds
        self._first, self._step = start, start
        self._begin = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and log.isEnabledFor(logging.INFO):
            self._bar = tqdm(total=total, initial=start, desc=what, unit=unit, unit_scale=True, dynamic_ncols=True)

    def update(self, step: int, **shown: float) -> None:
        """Moves to `step` and shows a few figures beside it."""
        texts = {name: f"{value:.4g}" for name, value in shown.items()}
        if self._bar is not None:
            self._bar.set_postfix(texts, refresh=False)
            self._bar.update(step - self._step)
        self._step = step
        now = time.monotonic()
        if self._bar is None and (now - self._last >= self._every or step >= self._total):
            self._last = now
            rate = (step - self._first) / max(now - self._begin, 1e-9)
            left = (self._total - step) / max(rate, 1e-9)
            figures = " ".join(f"{k}={v}" for k, v in texts.items())
            log.info(
                f"{self._what}: {step}/{self._total} {self._unit}s, {rate:.1f}/s, {left:.0f} s left"
                + (f", {figures}" if figures else "")
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def watched(items: Sequence, what: str, unit: str) -> Iterator:
    """Yields the items one by one and shows their Progress."""
    with Progress(what, len(items), unit=unit) as progress:
        for number, item in enumerate(items, 1):
            yield item
            progress.update(number)


def duration(seconds: float) -> str:
    """Seconds as text: '40 s', '12 minutes', '5.2 hours', '9.1 days'."""
    for unit, length, digits in (("days", 86400, 1), ("hours", 3600, 1), ("minutes", 60, 0 if seconds >= 600 else 1)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
