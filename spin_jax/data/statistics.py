"""Running mean and variance of rows that arrive in parts and are not kept."""

import numpy as np


class RunningStatistics:
    """Mean and variance of all rows added so far (Chan's parallel update), in float64 on the host."""

    def __init__(self, num_features: int):
        self.count, self.mean, self.m2 = 0.0, np.zeros(num_features), np.zeros(num_features)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation [S]; 0 before the first row."""
        return np.sqrt(self.m2 / max(self.count, 1.0))

    def add(self, rows: np.ndarray) -> None:
        """Add rows [T, S] to the statistics; T is at least 1."""
        rows = np.asarray(rows, np.float64)
        delta, total = rows.mean(0) - self.mean, self.count + len(rows)
        self.m2 += rows.var(0) * len(rows) + delta**2 * self.count * len(rows) / total
        self.mean += delta * len(rows) / total
        self.count = total

    def to_json(self) -> dict:
        """The statistics as plain numbers and lists, for load_json."""
        return {"count": self.count, "mean": self.mean.tolist(), "m2": self.m2.tolist()}

    def load_json(self, saved: dict) -> None:
        """Restore the statistics that to_json gave."""
        self.count, self.mean, self.m2 = saved["count"], np.array(saved["mean"]), np.array(saved["m2"])
