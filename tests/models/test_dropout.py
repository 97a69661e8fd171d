"""Masks: the right share, independent between neighbours, between rows and columns, between keys."""

import itertools

import jax
import numpy as np
import pytest

from spin_jax.models.dropout import Dropout, keep_mask

SHAPE = (64, 50, 40)


def dropped(key, rate=0.1, shape=SHAPE):
    return 1.0 - np.asarray(keep_mask(jax.random.key(key), shape, rate))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_of_each_mask_is_the_rate(rate):
    """Within 4 sigma of a binomial, for the whole and as the spread of rows and columns."""
    for key in range(5):
        mask = dropped(key, rate)
        variance = rate * (1 - rate)
        assert abs(mask.mean() - rate) < 4 * np.sqrt(variance / mask.size)
        for axis in range(3):
            means = mask.mean(tuple(set(range(3)) - {axis}))
            expected = variance * len(means) / mask.size
            # a sample variance of n normal values has a relative deviation of sqrt(2 / (n - 1))
            assert abs(means.var(ddof=1) / expected - 1) < 5 * np.sqrt(2 / (len(means) - 1))


def test_entries_are_uncorrelated():
    """Neighbours along every axis, powers of two apart, and the same entry under keys that follow each other."""
    masks = [dropped(key).ravel() - 0.1 for key in range(4)]
    size, variance = masks[0].size, 0.09
    products = [masks[0][:-lag] * masks[0][lag:] for lag in (1, 2, 40, 64, 256, 1024, 2000, 4096, 65536)]
    products += [a * b for a, b in itertools.combinations(masks, 2)]
    for product in products:
        assert abs(product.mean()) < 5 * variance / np.sqrt(size * 0.4)


def test_two_keys_never_give_one_sequence_shifted(monkeypatch):
    """Both words of a key count: where only the first moved along the numbers, masks would repeat each other."""
    masks = []
    for words in ((1000, 123456789), (1100, 987654321)):
        monkeypatch.setattr(jax.random, "bits", lambda *_, words=words: np.array(words, np.uint32))
        masks.append(dropped(0).ravel() - 0.1)
    product = masks[0][100:] * masks[1][:-100]
    assert abs(product.mean()) < 5 * 0.09 / np.sqrt(product.size)


def test_patterns_of_eight_neighbours_are_as_frequent_as_of_independent_ones():
    """Chi-square over the 256 patterns at rate 0.5."""
    bits = dropped(3, 0.5).ravel().astype(int)
    patterns = np.bincount(bits.reshape(-1, 8) @ 2 ** np.arange(8), minlength=256)
    expected = len(bits) / 8 / 256
    chi_square = ((patterns - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


def test_what_is_kept_is_scaled_up_and_rate_zero_changes_nothing():
    x = np.full(SHAPE, 3.0, np.float32)
    out = np.asarray(Dropout(0.25).apply({}, x, False, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(out)) == {0.0, 4.0}
    assert out.mean() == pytest.approx(3.0, rel=0.01)
    assert Dropout(0.0).apply({}, x, False) is x
    assert Dropout(0.5).apply({}, x, True) is x
