"""Exploration of behaviour policies: shares within four sigma, and holds by hand."""

import numpy as np

from spin_jax.collect.exploration import HELD_SLOTS, HELD_STEPS, Exploration


def played(steps, **settings):
    """[steps, 8, 12]: which sub-actions differ from the greedy 0, of 1000 choices."""
    exploration, rng = Exploration(8, 12, 1000, **settings), np.random.default_rng(0)
    return np.stack([exploration(np.zeros((8, 12), int), rng) for _ in range(steps)])


def test_single_sub_actions_are_random_with_their_share():
    """p = 0.3 of 12 slots: (0.3 / 12) / (0.3 / 12 + 0.7) = 0.0345, of which 0.1 % are 0."""
    share = 0.025 / 0.725 * 0.999
    found = (played(2000, explore=0.3, hold=0.0) > 0).mean()
    assert abs(found - share) < 4 * (share * (1 - share) / (2000 * 96)) ** 0.5


def test_without_exploration_the_policy_plays():
    assert (played(50, explore=0.0, hold=0.0) == 0).all()


def test_holds_keep_their_choices_for_some_steps_and_every_fourth_environment_has_none():
    actions = played(20_000, explore=0.0, hold=0.02)
    assert (actions[:, [3, 7]] == 0).all()
    holding = actions[:, [0, 1, 2, 4, 5, 6]]
    begun = (holding[1:] != holding[:-1]).any(-1) & (holding[1:] > 0).any(-1)
    lengths = (holding > 0).any(-1).sum() / begun.sum()
    assert abs(lengths - HELD_STEPS) < 0.9  # 4 sigma of the mean of some 2000 geometric numbers
    free_steps = 20_000 * 6 - (holding > 0).any(-1).sum()
    assert abs(begun.sum() / free_steps - 0.02) < 4 * (0.02 / free_steps) ** 0.5
    some = (holding > 0).any(-1)
    assert abs((holding[some] > 0).mean() - HELD_SLOTS) < 0.02
    inside = some[1:] & some[:-1] & ~begun
    np.testing.assert_array_equal(holding[1:][inside], holding[:-1][inside])  # the same choices from step to step
