"""Running statistics against numpy over everything at once."""

import numpy as np

from spin_jax.data.statistics import RunningStatistics


def test_running_statistics_equal_numpy_over_everything():
    """float32 rows far from zero, in parts of very different sizes: sums in float32 would be off by 1e-4."""
    rows = np.random.default_rng(0).normal([3000.0, 0, -5, 1], [2.0, 1, 0.1, 0], (10_000, 4)).astype(np.float32)
    statistics = RunningStatistics(4)
    for part in np.split(rows, [1, 30, 31, 9000]):
        statistics.add(part)
    np.testing.assert_allclose(statistics.mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, rows.std(0, dtype=np.float64), rtol=1e-9, atol=1e-12)
    assert statistics.count == 10_000


def test_statistics_go_on_from_their_json():
    rows = np.random.default_rng(1).normal(size=(50, 2))
    whole, first, second = (RunningStatistics(2) for _ in range(3))
    for part in np.split(rows, [20]):
        whole.add(part)
    first.add(rows[:20])
    second.load_json(first.to_json())
    second.add(rows[20:])
    np.testing.assert_array_equal(second.mean, whole.mean)
    np.testing.assert_array_equal(second.std, whole.std)
