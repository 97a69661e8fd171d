"""CQL's penalties against brute force over joint actions; its steps are in test_golden_traces.py."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_learners import COMMON, SPEC, make_batch, table_policy

from spin_jax.learners.awac import AWACConfig, make_awac
from spin_jax.learners.base import compiled_init
from spin_jax.learners.cql import CQLConfig, candidates_penalty, make_cql, slots_penalty

JOINT = np.array(list(itertools.product(range(2), range(3), range(2))))
AWAC = dict(
    COMMON, temperature=0.3, weight_clip=1.5, normalize_weights=False, bc_alpha=0.0, value_width=6, always_dropout=False
)
CQL = dict(AWAC, alpha=0.0, penalty="slots", candidates=4)


@pytest.fixture
def utilities():
    """[E, B, N, K], with the padding far above everything else, where it would win if it counted."""
    drawn = jax.random.normal(jax.random.key(0), (2, 4, 3, 3))
    return jnp.where(SPEC.valid[None, None], drawn, 50.0)


def brute_force(utilities, actions, among):
    """sum over critics of mean_B [log sum_{a in among} exp Q(s, a) - Q(s, a of the log)], loops and all."""
    total = 0.0
    for critic in np.asarray(utilities, float):
        q = [
            [sum(u[i, a] for i, a in enumerate(joint)) for joint in rows] for u, rows in zip(critic, among, strict=True)
        ]
        taken = [sum(u[i, a] for i, a in enumerate(joint)) for u, joint in zip(critic, actions, strict=True)]
        total += np.mean(np.log(np.exp(q).sum(-1)) - taken)
    return total


def test_slots_penalty_is_that_of_the_enumerated_joint_space(utilities):
    actions = np.array([[0, 0, 0], [1, 2, 1], [0, 1, 1], [1, 0, 0]])
    found = slots_penalty(utilities, jnp.asarray(actions), SPEC.valid)
    np.testing.assert_allclose(found, brute_force(utilities, actions, [JOINT] * 4), rtol=1e-5)


def test_candidates_penalty_counts_the_candidates_and_the_logs_action_once_more(utilities):
    actions = np.array([[0, 0, 0], [1, 2, 1], [0, 1, 1], [1, 0, 0]])
    everything = jnp.asarray(np.repeat(JOINT[:, None], 4, 1))  # [C, B, N]
    among = [[*JOINT, action] for action in actions]
    found = candidates_penalty(utilities, jnp.asarray(actions), everything)
    np.testing.assert_allclose(found, brute_force(utilities, actions, among), rtol=1e-5)


def test_candidates_penalty_hand_table():
    """One slot; Q = log 1, log 3 (critic 1) and log 2, log 2 (critic 2); a = 0: log(5 / 1) + log(6 / 2)."""
    utilities = jnp.log(jnp.array([[[[1.0, 3.0]]], [[[2.0, 2.0]]]]))
    found = candidates_penalty(utilities, jnp.array([[0]]), jnp.array([[[0]], [[1]]]))
    np.testing.assert_allclose(found, np.log(5) + np.log(3), rtol=1e-6)


@pytest.mark.usefixtures("debug_nans")
def test_gradient_of_the_slots_penalty_is_finite_and_zero_on_padding(utilities):
    gradient = jax.grad(lambda u: slots_penalty(u, jnp.zeros((4, 3), jnp.int32), SPEC.valid))(utilities)
    assert jnp.isfinite(gradient).all()
    assert (gradient[:, :, ~SPEC.valid] == 0).all()
    assert (gradient[:, :, SPEC.valid] != 0).all()


@pytest.mark.parametrize("penalty", ["slots", "candidates"])
def test_without_weight_on_the_penalty_cql_is_awac(penalty):
    policy = table_policy()._replace(propose=lambda *_: jnp.zeros((4, 16, 3), jnp.int32))
    awac = make_awac(policy, SPEC, AWACConfig(**AWAC))
    cql = make_cql(policy, SPEC, CQLConfig(**CQL | {"penalty": penalty}))
    batch = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, make_batch(0))
    ends = []
    for learner in (awac, cql):
        state = compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 5)))
        ends.append(jax.jit(learner.update)(state, (), batch, jax.random.key(1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *ends)


def test_candidates_of_a_policy_without_an_asm_are_refused():
    with pytest.raises(ValueError, match="cql.penalty='candidates' needs an ASM"):
        make_cql(table_policy(), SPEC, CQLConfig(**CQL | {"penalty": "candidates"}))


@pytest.mark.parametrize("change", [{"alpha": -1.0}, {"penalty": "all"}, {"candidates": 0}, {"q": "max"}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"cql.{next(iter(change))} must"):
        CQLConfig(**CQL | change)
