"""Bad rows of a log, collected so that one error can name them."""

from collections.abc import Callable

import numpy as np

from spin_jax.errors import DataError

TOLD = 5  # bad rows that a message describes one by one; the others are only counted


class Problems:
    """Bad rows of a log, numbered from 0; `check()` raises one DataError for all of them.

    where: the beginning of messages. files: the name and the number of rows of each file of the log; if there are
    several, rows are numbered in their file.
    """

    def __init__(self, where: object, files: tuple[tuple[str, int], ...] = ()):
        self.where, self._rows, self._hints = where, dict[int, str](), dict[str, None]()
        self._files = files
        self._starts = np.cumsum([0, *(rows for _, rows in files)])

    def add(self, row: int, text: str) -> None:
        """Record a problem of a row; only the first one of each row is kept."""
        self._rows.setdefault(int(row), text)

    def add_entries(self, bad: np.ndarray, text: Callable[..., str], hint: str = "") -> None:
        """Record text(*index) for the first True in each row of `bad` [R, …]; hint: what would do instead."""
        rows = np.flatnonzero(bad.any(tuple(range(1, bad.ndim))))
        for row in rows[:TOLD]:
            self.add(row, text(int(row), *(int(i) for i in np.argwhere(bad[row])[0])))
        for row in rows[TOLD:]:
            self.add(row, "")
        if hint and len(rows):
            self._hints[hint] = None

    def row(self, row: int) -> str:
        """A row in words: its number, and its file if there are several."""
        if len(self._files) < 2:
            return f"row {row}"
        file = int(np.searchsorted(self._starts, row, "right")) - 1
        return f"row {row - self._starts[file]} of {self._files[file][0]}"

    def check(self) -> None:
        """Raises DataError if a problem was recorded."""
        if self._rows:
            rows = sorted(self._rows.items(), key=lambda item: (not item[1], item[0]))  # those with a text first
            told = "".join(f"\n  {self.row(row)} {text}" for row, text in rows[:TOLD])
            more = f"\n  and {len(rows) - TOLD} more rows" if len(rows) > TOLD else ""
            hints = "".join(f"\nWhat would do: {hint}." for hint in self._hints)
            count = f"{len(rows)} bad row{'s' if len(rows) > 1 else ''}"
            raise DataError(f"{self.where}: {count}, counted from 0; nothing was written:{told}{more}{hints}")
