"""Dropout lies where the published code has it, and in targets too where train.always_dropout is on."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.learners.awac import AWACConfig, make_awac
from spin_jax.learners.base import compiled_init
from spin_jax.learners.bcq import BCQConfig, make_bcq
from spin_jax.models.asm import ASM
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.types import Transition

RATE, ROWS = 0.1, 6_000
SPIN = SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=RATE, frozen_dropout=True)


@pytest.fixture(scope="module")
def noise(spec, asm_config, asm_params, plain_asm):
    """deviation(body) -> std of log pi(a|s) of one state and action, in numpy; and the policy's of both settings.

    The heads are scaled so that the published placement gives about 2.31, what was measured of the published code.
    """
    params = jax.jit(make_spin(spec, asm_config, SPIN).init)(jax.random.key(0), asm_params, jnp.zeros((1, 5)))
    params["heads"]["kernel_out"] *= 9.5
    observation, actions = jnp.ones((ROWS, 5)), jnp.tile(jnp.array([1, 2, 0]), (ROWS, 1))
    described = {**asm_params, "table": params["queries"][:, None], "heads": params["heads"]}
    described, exact = jax.tree.map(lambda p: np.asarray(p, float), (described, observation))
    rng, blank, erf, found = np.random.default_rng(0), np.zeros((ROWS, 3), int), np.vectorize(math.erf), {}

    def drop(x):
        return np.where(rng.random(x.shape) >= RATE, x / (1 - RATE), 0)

    for body in (True, False):
        places = {"drop": drop, "drop_heads": drop} if body else {"drop_heads": drop}
        logits, by_hand = plain_asm(described, asm_config, exact, blank, np, erf, **places), 0
        for i, k in enumerate(spec.cardinalities):
            by_hand += logits[:, i, actions[0, i]] - np.log(np.exp(logits[:, i, :k]).sum(-1))
        policy = make_spin(spec, asm_config, dataclasses.replace(SPIN, frozen_dropout=body))
        ours = jax.jit(policy.log_prob)(params, asm_params, observation, actions, jax.random.key(1))
        found[body] = by_hand.std(), float(ours.std())
    return found


def test_log_prob_is_as_noisy_under_training_as_the_published_placement_makes_it(noise):
    """Measured of the published code: 2.31 with dropout in the frozen body, 2.13 without; here within 0.1 of each."""
    (published, ours), (without, ours_without) = noise[True], noise[False]
    assert published == pytest.approx(2.31, abs=0.1)
    assert ours == pytest.approx(published, abs=0.1)
    assert ours_without == pytest.approx(without, abs=0.1)
    assert published - without > 0.2  # otherwise the two settings could not be told apart


COMMON = dict(gamma=0.9, tau=0.1, learning_rate=1e-9, lr_decay=1.0, q="sum", num_critics=2, critic_width=7)


def losses(make, frozen, loss):
    """A metric of one update under four keys; nothing moves, as the learning rate is nearly 0."""
    rng = np.random.default_rng(0)
    s, s_next = rng.normal(size=(2, 64, 5)).astype(np.float32)
    action = rng.integers(0, (2, 3, 2), (64, 3)).astype(np.int32)
    batch = Transition(s, action, rng.normal(size=64).astype(np.float32), np.ones(64, np.float32), s_next)
    state, update = make.init(jax.random.key(0), frozen, jnp.zeros((1, 5))), jax.jit(make.update)
    return np.array([update(state, frozen, batch, jax.random.key(i))[1][loss] for i in range(4)])


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("name", ["spin", "saint", "factored"])
def test_targets_draw_dropout_exactly_where_the_field_is_on(name, always, spec, asm_config, asm_params):
    """BCQ's support makes its critics' target, AWAC's expectation its V's; a key without dropout changes neither."""
    policy = {
        "spin": lambda: make_spin(spec, asm_config, dataclasses.replace(SPIN, dropout=0.5, frozen_dropout=always)),
        "saint": lambda: make_saint(spec, asm_config, SAINTConfig(head_width=6, dropout=0.5)),
        "factored": lambda: make_factored(spec, asm_config, FactoredConfig(width=8, dropout=0.5)),
    }[name]()
    bcq = make_bcq(policy, spec, BCQConfig(**COMMON, threshold=0.9, always_dropout=always))
    value = dict(temperature=0.3, weight_clip=100.0, normalize_weights=False, bc_alpha=0.0, value_width=6)
    awac = make_awac(policy, spec, AWACConfig(**COMMON, **value, always_dropout=always))
    for learner, loss in ((bcq, "critic_loss"), (awac, "value_loss")):
        found = losses(learner, asm_params, loss)
        assert (np.ptp(found) / found.mean() > 1e-4) == always, (name, loss, found)


def test_evaluation_has_no_dropout(spec, asm_config, asm_params):
    """BCQ's played action comes from the same support, without dropout: whatever the key, it is the same."""
    policy = make_spin(spec, asm_config, dataclasses.replace(SPIN, dropout=0.5))
    learner = make_bcq(policy, spec, BCQConfig(**COMMON, threshold=0.9, always_dropout=True))
    state, act = compiled_init(learner)(jax.random.key(0), asm_params, jnp.zeros((1, 5))), jax.jit(learner.act)
    observation = jax.random.normal(jax.random.key(3), (200, 5))
    played = [np.asarray(act(state, asm_params, observation, jax.random.key(i))) for i in range(3)]
    np.testing.assert_array_equal(played[0], played[1])
    np.testing.assert_array_equal(played[0], played[2])
    assert ASM(spec, asm_config).config.body.dropout == RATE
