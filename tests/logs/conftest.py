"""A log that nobody prepared for this package, and what its import must give, by plain loops."""

import numpy as np
import pytest

from spin_jax.types import Episode

DRUGS, WARDS = ["aspirin", "none"], [f"w{i:02}" for i in range(100)]
DOSES = [f"{d} mg" for d in (0, 10, 160, 20, 40, 5, 80)]  # sorted as text


def make_ward(rows=20_000, steps=25, seed=0):
    """Three slots of text with 2, 7 and 100 choices, ids of episodes, no end flags; every choice occurs."""
    rng = np.random.default_rng(seed)
    number = np.arange(rows)
    return {
        "patient": np.array([f"p{i // steps}" for i in number]),
        "episode_id": number // steps,
        "age": rng.integers(20, 90, rows),
        "pulse": rng.normal(size=rows),
        "pressure": rng.normal(size=rows).astype(np.float32),
        "slot_drug": np.array(DRUGS)[rng.permutation(number) % 2],
        "slot_dose": np.array(DOSES)[rng.permutation(number) % 7],
        "slot_ward": np.array(WARDS)[rng.permutation(number) % 100],
        "reward": rng.normal(size=rows),
    }


def ward_episodes(table):
    """The episodes that a ward's table must become: each id terminates, and repeats its last observation."""
    slots = [("slot_drug", DRUGS), ("slot_dose", DOSES), ("slot_ward", WARDS)]
    found = {}
    for row, number in enumerate(table["episode_id"]):
        observation = [table[name][row] for name in ("age", "pulse", "pressure")]
        action = [names.index(table[slot][row]) for slot, names in slots]
        found.setdefault(number, []).append((observation, action, table["reward"][row]))
    episodes = []
    for rows in found.values():
        observation = np.array([*(row[0] for row in rows), rows[-1][0]], np.float32)
        action, reward = np.array([row[1] for row in rows]), np.array([row[2] for row in rows], np.float32)
        episodes.append(Episode(observation, action, reward, True))
    return episodes


def assert_episodes(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for part in ("observation", "action", "reward", "terminal", "propensity"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@pytest.fixture
def ward():
    return make_ward


@pytest.fixture
def expect_ward():
    """Asserts that episodes are those of a ward's table."""
    return lambda found, table: assert_episodes(found, ward_episodes(table))


@pytest.fixture
def same_episodes():
    return assert_episodes
