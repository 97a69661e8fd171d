"""Seeds in one program: each gets what it would get alone, however many are trained at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.measure import settings
from spin_jax.from_config import make_learner
from spin_jax.models.asm import ASMConfig
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.training.loop import Hook, fit, make_run_chunk
from spin_jax.training.seeds import ONE, Seeds
from spin_jax.types import Transition

SEEDS = (3, 8, 5)


@pytest.fixture(scope="module")
def iql(spec, asm_config):
    """IQL with SPIN, dropout in heads and body: everything that draws random numbers in an update."""
    assert isinstance(asm_config, ASMConfig)
    policy = make_spin(spec, asm_config, SPINConfig("normal", "fresh", 6, 0.1, frozen_dropout=True))
    run = settings("cheetah_run", iql__tau=0.05, iql__learning_rate=1e-2, iql__extract_after=2)
    return make_learner(run, policy, spec)


@pytest.fixture(scope="module")
def data(spec):
    rng = np.random.default_rng(0)
    s, s_next = rng.normal(size=(2, 40, 5)).astype(np.float32)
    action = rng.integers(0, 2, (40, spec.num_slots)).astype(np.int32)
    return Transition(s, action, rng.normal(size=40).astype(np.float32), np.ones(40, np.float32), s_next)


def train(learner, data, frozen, run_seeds, seeds, **options):
    """(final states, their metrics by step) of run_seeds; `frozen`: a tree for each of them."""
    keys = [jax.random.split(jax.random.key(seed)) for seed in run_seeds]
    rows = []
    state = fit(
        learner,
        seeds.bundle([learner.init(k[0], f, jnp.zeros((1, 5))) for k, f in zip(keys, frozen, strict=True)]),
        seeds.bundle_frozen(frozen),
        data,
        seeds.bundle([k[1] for k in keys]),
        num_steps=8,
        batch_size=6,
        max_chunk=4,
        seeds=seeds,
        on_metrics=lambda step, metrics: rows.append((step, metrics)),
        **options,
    )
    return seeds.split(state), rows


def assert_close(found, expected):
    """To 1e-5 of each array's norm: Adam divides tiny gradients by their own size, so single entries say less."""
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b), jax.tree_util.keystr(path)


@pytest.mark.parametrize("own_frozen", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_seeds_together_equal_each_alone(iql, data, asm_params, at_once, own_frozen):
    scales = (1.0, 1.1, 0.9) if own_frozen else (1.0, 1.0, 1.0)
    frozen = [jax.tree.map(lambda p, s=scale: s * p, asm_params) for scale in scales]
    together, rows = train(iql, data, frozen, SEEDS, Seeds(3, at_once, own_frozen))
    for i, seed in enumerate(SEEDS):
        (alone,), rows_alone = train(iql, data, frozen[i : i + 1], (seed,), ONE)
        assert_close(together[i], alone)
        for (step, metrics), (step_alone, metrics_alone) in zip(rows, rows_alone, strict=True):
            assert step == step_alone
            for name in metrics:
                assert metrics[name].shape == (3,)
                np.testing.assert_allclose(metrics[name][i], metrics_alone[name][0], rtol=1e-5, atol=1e-6)
    first, second = (s.policy["queries"] for s in together[:2])
    assert not np.allclose(first, second)


def test_hooks_see_all_seeds_and_a_bad_one_stops_the_run(iql, data, asm_params):
    seen, seeds = [], Seeds(2)
    hook = Hook(4, lambda step, state: seen.append((step, [int(s.step) for s in seeds.split(state)])))
    train(iql, data, [asm_params] * 2, (0, 1), seeds, hooks=[hook])
    assert seen == [(4, [4, 4]), (8, [8, 8])]
    broken = [asm_params, jax.tree.map(lambda p: p * jnp.nan, asm_params)]
    with pytest.raises(FloatingPointError, match="policy_loss became NaN or infinite between steps 0 and 4"):
        train(iql, data, broken, (0, 1), Seeds(2, 1, own_frozen=True))


def test_one_seed_has_no_seed_axis():
    tree = {"a": jnp.ones(3)}
    assert ONE.bundle([tree]) is tree
    assert ONE.split(tree) == [tree]
    both = Seeds(2).bundle([tree, tree])
    assert both["a"].shape == (2, 3)
    assert Seeds(2).bundle_frozen([tree, tree]) is tree


def test_seeds_as_one_batch_wait_for_the_critics_as_seeds_one_by_one_do(iql, data, asm_params):
    """The condition is a step that all seeds share; of one for each seed, both branches would be computed."""
    key, conditions = jax.random.key(0), {}
    for at_once in (1, 3):
        seeds = Seeds(3, at_once)
        state = seeds.bundle([iql.init(key, asm_params, jnp.zeros((1, 5)))] * 3)
        run_chunk = make_run_chunk(iql, 6, 4, seeds=seeds)
        program = run_chunk.lower(state, asm_params, data, seeds.bundle([key] * 3), 0).as_text()
        conditions[at_once] = program.count("stablehlo.case")
    assert conditions[3] == conditions[1] > 0
