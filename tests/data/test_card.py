"""Cards: entropies and total correlation in closed form, counts by numpy's own rows."""

import time

import numpy as np
import pytest

from spin_jax.data.card import card_table, data_card, entropy_bits, joint_counts
from spin_jax.types import ActionSpec, Episode


def episode(action, reward=1.0, terminal=False):
    action = np.asarray(action, np.int32)
    return Episode(
        np.zeros((len(action) + 1, 2), np.float32), action, np.full(len(action), reward, np.float32), terminal
    )


def test_slots_that_copy_one_coin_have_one_bit_of_total_correlation_less_than_slots():
    """Closed form: three fair slots that are always equal: 3 bits of slots, 1 bit together."""
    card = data_card([episode([[0, 0, 0], [1, 1, 1]])] * 4, ActionSpec((2, 2, 2)), {"policy": "coin"})
    assert card["slot_entropy_bits"] == pytest.approx([1, 1, 1])
    assert card["total_correlation_bits"] == pytest.approx(2)
    assert card["unique_joint_actions"] == {"count": 2, "share_of_transitions": 0.25, "share_of_all": 0.25}
    assert card["made_by"] == {"policy": "coin"}


def test_independent_slots_have_none():
    every = np.stack(np.meshgrid(range(3), range(4)), -1).reshape(-1, 2)
    card = data_card([episode(every)], ActionSpec((3, 4)), {})
    assert card["slot_entropy_bits"] == pytest.approx([np.log2(3), 2])
    assert card["total_correlation_bits"] == pytest.approx(0, abs=1e-12)
    assert card["unique_joint_actions"]["share_of_all"] == 1


def test_total_correlation_of_few_samples_is_biased_upward():
    """Ten independent slots and 64 rows: what the docstring warns of (the truth is 0)."""
    action = np.random.default_rng(0).integers(0, 3, (64, 10))
    assert data_card([episode(action)], ActionSpec((3,) * 10), {})["total_correlation_bits"] > 8


def test_returns_terminations_and_lengths_are_counted():
    log = [episode([[0, 0]] * 3, 2.0, terminal=True), episode([[1, 2]], -1.0)]
    card = data_card(iter(log), ActionSpec((2, 3)), {})
    found = [card[name] for name in ("transitions", "episodes", "terminal_episodes")]
    assert found == [4, 2, 1]
    assert [card[f"return_{name}"] for name in ("mean", "min", "max")] == [2.5, -1, 6]
    assert card["cardinalities"] == [2, 3]


@pytest.mark.parametrize("cardinalities", [(2, 3, 2), (3,) * 38, (100,) * 38, (2,) * 70, (256, 3)])
def test_joint_counts_are_numpys_rows(cardinalities):
    """Oracle: np.unique over whole rows; some are copies, some differ in slot 0 alone, which an overflow would lose."""
    rng = np.random.default_rng(0)
    action = rng.integers(0, cardinalities, (300, len(cardinalities)))
    other = np.concatenate([(action[:, :1] + 1) % cardinalities[0], action[:, 1:]], axis=1)
    action = np.concatenate([action, other, action[rng.integers(0, 300, 300)]])
    expected = np.unique(action, axis=0, return_counts=True)[1]
    np.testing.assert_array_equal(np.sort(joint_counts(action, cardinalities)), np.sort(expected))


def test_entropy_of_a_certain_choice_is_zero():
    assert str(entropy_bits(np.array([7, 0, 0]))) == "0.0"


def test_a_million_rows_of_38_slots_take_seconds():
    action = np.random.default_rng(0).integers(0, 3, (1_000_000, 38), np.int8).astype(np.int32)
    begin = time.monotonic()
    data_card([Episode(None, action, np.ones(len(action), np.float32), False)], ActionSpec((3,) * 38), {})
    assert time.monotonic() - begin < 20


def test_the_table_has_one_aligned_row_a_split():
    card = data_card([episode([[0, 0]] * 3)], ActionSpec((2, 3)), {})
    lines = card_table({"random": card, "a_long_name": card}).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split()[:4] == ["random", "3", "1", "0"]
