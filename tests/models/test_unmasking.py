"""Iterative unmasking against a loop by hand, and against its own probabilities over the enumerated joint space."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.learners.asm import full_mask_logits
from spin_jax.models import categorical
from spin_jax.models.asm import ASM
from spin_jax.models.unmasking import next_slots, round_sizes, unmask, unmasking_log_prob

JOINT = np.array(list(itertools.product(range(2), range(3), range(2))))
MASK = 3
ROUNDS = (1, 2, 3)


@pytest.fixture(scope="module")
def observation():
    return jax.random.normal(jax.random.key(2), (2, 5))


@pytest.fixture(scope="module")
def params(spec, asm_params):
    """Spread-out probabilities, and padding far above everything, where it would win if it counted."""
    heads = asm_params["heads"]
    bias = jnp.where(spec.valid, 3 * heads["bias_out"], 50.0)
    return {**asm_params, "heads": {**heads, "kernel_out": 2 * heads["kernel_out"], "bias_out": bias}}


@pytest.fixture(scope="module")
def asm(spec, asm_config):
    return ASM(spec, asm_config)


@pytest.fixture(scope="module")
def by_hand(spec, asm, params):
    """by_hand(observation [S], actions [R, N] | None, sizes) -> (log p [R], actions).

    One round after the other: of the masked slots, those whose best choice is most probable are shown next; with None
    for actions each takes its best.
    """
    apply = jax.jit(lambda o, c: asm.apply({"params": params}, o, c))

    def run(observation, actions, sizes):
        rows = 1 if actions is None else len(actions)
        choices, total = np.full((rows, 3), MASK), np.zeros(rows)
        for size in sizes:
            logits = np.asarray(apply(np.tile(observation, (rows, 1)), choices), float)
            before = choices.copy()
            for row in range(rows):
                p = [np.exp(logits[row, i, :k]) / np.exp(logits[row, i, :k]).sum() for i, k in enumerate((2, 3, 2))]
                masked = [i for i in range(3) if before[row, i] == MASK]
                for i in sorted(masked, key=lambda i: -p[i].max())[:size]:
                    choice = p[i].argmax() if actions is None else actions[row, i]
                    choices[row, i] = choice
                    total[row] += np.log(p[i][choice])
        return total, choices

    return run


@pytest.fixture(scope="module", params=ROUNDS)
def drawn(request, asm, params, observation):
    """(rounds, 10 000 joint actions [C, B, N] of two states, log p [B, J] of every joint action)."""
    r = request.param
    actions = jax.jit(lambda k: unmask(asm, params, observation, k, rounds=r, count=10_000))(jax.random.key(3))
    score = jax.jit(lambda o: unmasking_log_prob(asm, params, o, jnp.asarray(JOINT), rounds=r))
    return r, np.asarray(actions), np.stack([score(jnp.tile(o, (len(JOINT), 1))) for o in observation])


@pytest.mark.parametrize("num_slots", [1, 2, 5, 38])
def test_round_sizes_grow_from_one_slot_to_all(num_slots):
    for rounds in (1, 2, 3, 4, 38, 100):
        sizes = round_sizes(num_slots, rounds)
        assert len(sizes) == min(rounds, num_slots)
        assert sizes.sum() == num_slots
        assert sizes.min() >= 1
        assert (np.diff(sizes) >= 0).all()
        assert sizes[0] == 1 or rounds == 1


def test_known_slots_grow_geometrically():
    """27 slots in 4 rounds: 1, 3, 9, 27 are known after them; where that is less than one a round, one is drawn."""
    np.testing.assert_array_equal(round_sizes(27, 4), [1, 2, 6, 18])
    np.testing.assert_array_equal(round_sizes(8, 4), [1, 1, 2, 4])
    np.testing.assert_array_equal(round_sizes(3, 3), [1, 1, 1])


def test_next_slots_are_the_most_confident_of_the_masked():
    """Hand table: the slots' best choices have probability 0.9, 0.5, 0.8; padding does not count."""
    valid = np.array([[True, True, False], [True, True, True], [True, True, False]])
    logits = jnp.log(jnp.array([[[0.9, 0.1, 1e9], [0.5, 0.25, 0.25], [0.2, 0.8, 1e9]]]))
    for masked, size, expected in (
        ([True, True, True], 1, [True, False, False]),
        ([True, True, True], 2, [True, False, True]),
        ([False, True, True], 1, [False, False, True]),
        ([False, True, False], 2, [False, True, False]),
    ):
        np.testing.assert_array_equal(next_slots(logits, jnp.array([masked]), size, valid), [expected])


def test_probability_is_the_product_over_rounds(drawn, observation, by_hand):
    """The order by hand follows from what is shown alone, never from what a slot is about to draw."""
    rounds, _, log_p = drawn
    for state, found in zip(observation, log_p, strict=True):
        np.testing.assert_allclose(found, by_hand(state, JOINT, round_sizes(3, rounds))[0], rtol=1e-4)


def test_probabilities_of_the_joint_space_sum_to_one(drawn):
    np.testing.assert_allclose(np.exp(drawn[2]).sum(-1), 1, rtol=1e-5)


def test_draws_follow_their_probability_and_never_padding(drawn, spec):
    """In both states, every joint action's frequency within 4 sigma; 10 000 draws each."""
    _, actions, log_p = drawn
    assert actions.dtype == np.int32
    assert (actions < np.array(spec.cardinalities)).all()
    for state in range(2):
        p, found = np.exp(log_p[state]), (actions[:, state, None] == JOINT[None]).all(-1).mean(0)
        assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / len(actions))).all()


def test_one_round_is_the_product_under_full_masking(asm, params, observation, spec):
    actions = jnp.array([[1, 2, 0], [0, 1, 1]])
    expected = categorical.log_prob(full_mask_logits(asm, params, observation), actions, spec.valid)
    found = unmasking_log_prob(asm, params, observation, actions, rounds=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_more_rounds_than_one_are_no_product(asm, params, observation):
    """Otherwise the tests above could not tell them apart."""

    def log_p(rounds):
        return unmasking_log_prob(asm, params, jnp.tile(observation[:1], (12, 1)), jnp.asarray(JOINT), rounds=rounds)

    assert float(jnp.abs(log_p(1) - log_p(3)).max()) > 0.05


@pytest.mark.parametrize("rounds", ROUNDS)
def test_without_a_key_every_slot_takes_its_best(asm, params, observation, by_hand, rounds):
    found = jax.jit(lambda: unmask(asm, params, observation, None, rounds=rounds))()
    expected = [by_hand(state, None, round_sizes(3, rounds))[1] for state in observation]
    np.testing.assert_array_equal(found[0], np.concatenate(expected))
