"""Which slots are hidden and by what, and that the loss sees those alone. Statistical bounds are 4 sigma."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.objectives.masked_modelling import MaskingConfig, choose_slots, corrupt, masked_cross_entropy
from spin_jax.types import ActionSpec

PUBLISHED = MaskingConfig("fixed", mask_rate=0.15, full_mask_share=0.0, replace_mask=0.8, replace_random=0.1)
FULL_RANGE = MaskingConfig("full_range", mask_rate=0.15, full_mask_share=0.3, replace_mask=1.0, replace_random=0.0)
SPEC = ActionSpec((2, 3, 5))
ROWS = 40_000


@pytest.fixture(scope="module")
def actions():
    return jax.random.randint(jax.random.key(0), (ROWS, 3), 0, np.array(SPEC.cardinalities)[None])


def assert_share(hits, p):
    """The mean of 0/1 draws lies within 4 sigma of p."""
    assert abs(float(np.mean(hits)) - p) < 4 * np.sqrt(p * (1 - p) / np.size(hits)), (np.mean(hits), p)


def test_published_shares_of_masking_are_kept(actions):
    """15 % chosen; of those 80 % [MASK], 10 % random (which may equal the original: 1 in K_i), 10 % kept."""
    choices, chosen = corrupt(jax.random.key(1), actions, SPEC, PUBLISHED)
    assert_share(chosen, 0.15)
    np.testing.assert_array_equal(choices[~chosen], actions[~chosen])
    for i, k in enumerate(SPEC.cardinalities):
        found, true = np.asarray(choices[:, i][chosen[:, i]]), np.asarray(actions[:, i][chosen[:, i]])
        assert_share(found == SPEC.num_choices, 0.8)
        assert_share(found == true, 0.1 + 0.1 / k)
        assert_share((found != true) & (found != SPEC.num_choices), 0.1 * (1 - 1 / k))


def test_random_replacements_are_uniform_over_each_slots_own_choices(actions):
    config = dataclasses.replace(PUBLISHED, mask_rate=1.0, replace_mask=0.0, replace_random=1.0)
    choices, _ = corrupt(jax.random.key(1), actions, SPEC, config)
    for i, k in enumerate(SPEC.cardinalities):
        assert int(choices[:, i].max()) == k - 1
        for choice in range(k):
            assert_share(choices[:, i] == choice, 1 / k)


def test_at_least_one_slot_of_the_batch_is_chosen():
    none = dataclasses.replace(PUBLISHED, mask_rate=1e-9)
    for seed in range(5):
        assert int(choose_slots(jax.random.key(seed), (4, 3), none).sum()) == 1


def test_full_range_hides_whole_rows_and_every_rate():
    """P(row full) = share + (1 - share) E[u^N], P(slot chosen) = share + (1 - share) / 2, with u from U(0, 1)."""
    chosen = choose_slots(jax.random.key(2), (ROWS, 3), FULL_RANGE)
    assert_share(chosen.all(1), 0.3 + 0.7 / 4)
    assert_share(chosen[:, 0], 0.3 + 0.7 / 2)
    for count in range(3):  # of N = 3 slots, every number is equally likely where the row is not forced
        assert_share(chosen.sum(1) == count, 0.7 / 4)


def test_full_range_always_replaces_by_mask(actions):
    choices, chosen = corrupt(jax.random.key(3), actions, SPEC, FULL_RANGE)
    np.testing.assert_array_equal(choices, np.where(chosen, SPEC.num_choices, actions))


@pytest.fixture
def small():
    """(logits [2, 3, 5], actions [2, 3], chosen [2, 3]) with three of six slots chosen."""
    logits = jax.random.normal(jax.random.key(4), (2, 3, 5))
    return logits, jnp.array([[1, 2, 4], [0, 0, 3]]), jnp.array([[True, False, True], [False, True, False]])


def test_loss_is_the_mean_cross_entropy_of_the_chosen(small):
    """Oracle: numpy over the real choices of the three chosen slots, one by one."""
    logits, actions, chosen = (np.asarray(x) for x in small)
    terms, hits = [], []
    for b, i in zip(*np.nonzero(chosen), strict=True):
        real = logits[b, i, : SPEC.cardinalities[i]].astype(np.float64)
        terms.append(np.log(np.exp(real).sum()) - real[actions[b, i]])
        hits.append(real.argmax() == actions[b, i])
    loss, metrics = masked_cross_entropy(*small, SPEC.valid)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)
    assert float(metrics["masked_cross_entropy"]) == float(loss)
    assert float(metrics["masked_accuracy"]) == pytest.approx(np.mean(hits), rel=1e-6)


@pytest.mark.usefixtures("debug_nans")
def test_only_chosen_positions_count(small):
    logits, actions, chosen = small

    def loss(logits, actions=actions):
        return masked_cross_entropy(logits, actions, chosen, SPEC.valid)[0]

    gradient = jax.grad(loss)(logits)
    counted = np.asarray(chosen)[..., None] & SPEC.valid[None]
    assert (gradient[~counted] == 0).all()
    assert (gradient[counted] != 0).all()
    elsewhere = jnp.where(counted, logits, logits + 3 * jax.random.normal(jax.random.key(5), logits.shape))
    assert float(loss(elsewhere)) == float(loss(logits))
    assert float(loss(logits, jnp.where(chosen, actions, 1 - jnp.minimum(actions, 1)))) == float(loss(logits))


def test_wrong_shapes_are_refused(small):
    logits, actions, chosen = small
    for wrong in (
        (logits, actions, chosen[:, :2]),
        (logits, actions[:1], chosen[:1]),
        (logits[:, 0], actions, chosen),
        (logits, actions[:, :1], chosen[:, :1]),
    ):
        with pytest.raises(AssertionError):
            masked_cross_entropy(*wrong, SPEC.valid)
    with pytest.raises(AssertionError):
        corrupt(jax.random.key(0), actions[:, :2], SPEC, PUBLISHED)


@pytest.mark.parametrize(
    "change",
    [
        {"masking": "uniform"},
        {"mask_rate": -0.1},
        {"mask_rate": 1.5},
        {"full_mask_share": 1.1},
        {"replace_mask": 0.95},  # 0.95 + 0.1 > 1
        {"replace_random": -0.1},
        {"mask_rate": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"config.asm.{name}"):
        dataclasses.replace(PUBLISHED, **change)
