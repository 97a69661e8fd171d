"""What IQL leaves untouched while it learns; its arithmetic is in test_golden_traces.py."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_learners import COMMON, SPEC, make_batch, table_policy

from spin_jax.learners.base import compiled_init
from spin_jax.learners.iql import IQLConfig, make_iql
from spin_jax.models import mlp
from spin_jax.policies.spin import SPINConfig, make_spin

CONFIG = dict(
    COMMON | {"lr_decay": 1.0}, expectile=0.8, beta=3.0, weight_clip=1.5, bc_alpha=0.0, value_width=6, extract_after=0
)
SPIN = SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=True)


def run(num_steps, policy=None, frozen=(), compiled=True, **changes):
    """The state before the first of `num_steps` updates and after each."""
    learner = make_iql(policy or table_policy(), SPEC, IQLConfig(**{**CONFIG, **changes}))
    states = [compiled_init(learner)(jax.random.key(0), frozen, jnp.zeros((1, 5)))]
    update = jax.jit(learner.update) if compiled else learner.update
    for step in range(num_steps):
        batch = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, make_batch(step))
        state, metrics = update(states[-1], frozen, batch, jax.random.key(step))
        assert all(jnp.shape(m) == () and jnp.isfinite(m) for m in metrics.values())
        states.append(state)
    assert not compiled or update._cache_size() == 1  # it does not compile a second time
    return states


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def bit_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_policy_waits_for_extract_after_and_values_do_not():
    states = run(4, extract_after=2)
    parts = ("policy", "policy_opt", "critics", "value")
    moved = [[not bit_equal(getattr(a, p), getattr(b, p)) for p in parts] for a, b in itertools.pairwise(states)]
    assert moved == [[False, False, True, True]] * 2 + [[True] * 4] * 2


def test_waiting_changes_no_value():
    """IQL's values never read the policy: with and without the wait they are the same."""
    now, later = run(3)[-1], run(3, extract_after=2)[-1]
    assert_close(now[1:4], later[1:4])  # critics, target critics, value
    assert not bit_equal(now.policy, later.policy)


def test_frozen_parameters_stay_bit_equal_and_out_of_the_optimiser(asm_config, asm_params):
    before = jax.tree.map(np.array, asm_params)
    first, *_, last = run(3, make_spin(SPEC, asm_config, SPIN), asm_params)
    jax.tree.map(np.testing.assert_array_equal, before, asm_params)
    assert set(last.policy) == {"queries", "heads"}
    for a, b in zip(jax.tree.leaves(first.policy), jax.tree.leaves(last.policy), strict=True):
        assert not np.array_equal(a, b)
    for params, opt in ((last.policy, last.policy_opt), (last.critics, last.critics_opt), (last.value, last.value_opt)):
        for moment in (opt[0].mu, opt[0].nu):
            assert jax.tree.map(jnp.shape, moment) == jax.tree.map(jnp.shape, params)
        assert len(jax.tree.leaves(opt)) == 2 * len(jax.tree.leaves(params)) + 1  # and Adam's count


@pytest.mark.slow
def test_jit_equals_no_jit():
    assert_close(run(2)[-1], run(2, compiled=False)[-1])


def test_critic_ranks():
    """Utilities [E, B, N, K] and V [B]: a column here would turn the targets into a square."""
    for module, shape in ((mlp.Critics(SPEC), (2, 4, 3, 3)), (mlp.Value(), (4,))):
        assert module.init_with_output(jax.random.key(0), jnp.zeros((4, 5)))[0].shape == shape


@pytest.mark.parametrize(
    "change",
    [
        {"expectile": 0.0},
        {"expectile": 1.1},
        {"gamma": 1.01},
        {"tau": 0.0},
        {"tau": np.nan},
        {"lr_decay": 0.0},
        {"num_critics": 0},
        {"bc_alpha": -1.0},
        {"extract_after": -1},
    ],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"iql.{next(iter(change))}"):
        IQLConfig(**{**CONFIG, **change})
