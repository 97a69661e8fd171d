"""Mean and variance of rows that come in parts, without keeping them."""

import numpy as np


class RunningStatistics:
    """Mean and variance of all rows seen (Chan's parallel update), float64 on the host."""

    def __init__(self, num_features: int):
        self.count, self.mean, self.m2 = 0.0, np.zeros(num_features), np.zeros(num_features)

    @property
    def std(self) -> np.ndarray:
        """[S] standard deviation, 0 before the first row."""
        return np.sqrt(self.m2 / max(self.count, 1.0))

    def add(self, rows: np.ndarray) -> None:
        """Take in rows [T, S], T at least 1."""
        rows = np.asarray(rows, np.float64)
        delta, total = rows.mean(0) - self.mean, self.count + len(rows)
        self.m2 += rows.var(0) * len(rows) + delta**2 * self.count * len(rows) / total
        self.mean += delta * len(rows) / total
        self.count = total

    def to_json(self) -> dict:
        """What load_json takes, as plain lists."""
        return {"count": self.count, "mean": self.mean.tolist(), "m2": self.m2.tolist()}

    def load_json(self, saved: dict) -> None:
        """Continues from the result of to_json."""
        self.count, self.mean, self.m2 = saved["count"], np.array(saved["mean"]), np.array(saved["m2"])
