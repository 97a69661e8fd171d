"""The contract of every registered learner with every registered policy, at tiny sizes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_learners import COMMON
from pairs import tried

from spin_jax.frozen.artefact import params_like
from spin_jax.learners.base import Learner, compiled_init
from spin_jax.policies.base import Policy
from spin_jax.policies.cached import packed
from spin_jax.record.checkpoint import CheckpointStore, flatten
from spin_jax.registry import LEARNERS, POLICIES
from spin_jax.types import ActionSpec, Transition

HEADS = dict(head_width=6, dropout=0.1)
VALUE = dict(weight_clip=100.0, bc_alpha=0.1, value_width=6)
SETTINGS = {  # whatever is registered needs a line here
    "spin": dict(HEADS, queries="normal", heads="fresh", frozen_dropout=True, finetune="trained", finetune_after=1),
    "spin_warm": dict(HEADS, queries="mask", heads="asm", frozen_dropout=False),
    "spin_cached": dict(HEADS, heads="asm"),
    "spin_distill": dict(HEADS, heads="asm", width=8, steps=3, batch_size=4, learning_rate=0.01, kl_weight=1.0),
    "spin_decode": dict(candidates=3, rounds=2, threshold=0.3, select="softmax", beta=1.0),
    "saint": HEADS,
    "factored": dict(width=8, dropout=0.1),
    "autoregressive": dict(state_width=6, choice_width=4, lstm_width=8, num_layers=2),
    "iql": dict(COMMON, **VALUE, expectile=0.8, beta=3.0, extract_after=1),
    "awac": dict(COMMON, **VALUE, temperature=0.3, normalize_weights=True, always_dropout=True),
    "bcq": dict(COMMON, threshold=0.3, always_dropout=True),
    "cql": dict(
        COMMON,
        **VALUE,
        temperature=0.3,
        normalize_weights=False,
        alpha=1.0,
        penalty="slots",
        candidates=3,
        always_dropout=False,
    ),
    "bc": dict(learning_rate=0.01),
}
SMALL, WIDE = ActionSpec((2, 3, 2)), ActionSpec((2, 7, 100))
REPEATED = [(name, "spin_cached") for name in LEARNERS] + [("iql", "spin"), ("awac", "autoregressive")]
WIDE_PAIRS = {("bcq", "spin_cached"), ("bc", "spin_decode")}


def pairs():
    """Quick: every policy with BC and every learner with spin_cached, the smallest programs; slow: more."""
    for learner in LEARNERS:
        for policy in POLICIES:
            quick = learner == "bc" or policy == "spin_cached"
            if quick or tried(learner, policy):
                marks = () if quick else pytest.mark.slow
                yield pytest.param((learner, policy, SMALL), id=f"{learner}-{policy}", marks=marks)
    for learner, policy in sorted(WIDE_PAIRS):
        yield pytest.param((learner, policy, WIDE), id=f"{learner}-{policy}-wide")


class Made(NamedTuple):
    """A learner of a policy, and what three compiled updates made of its first state."""

    learner: Learner
    policy: Policy
    spec: ActionSpec
    frozen: Any
    frozen_before: Any
    batches: list
    states: list
    metrics: list
    update: Any  # compiled


def config(entries, name):
    assert name in SETTINGS, f"{name!r} is registered: give it a line in SETTINGS of {__file__}"
    return entries[name].config(**SETTINGS[name])


def make_frozen(name, spec, asm_config, policy_config):
    """What stage 2 would load for this policy, with random parameters."""
    if not POLICIES[name].reads_asm:
        return ()
    rng, like = np.random.default_rng(0), params_like(spec, 5, asm_config)
    asm = jax.tree.map(lambda p: jnp.asarray(0.3 * rng.normal(size=p.shape), p.dtype), like)
    if POLICIES[name].distiller is None:
        return asm
    distiller = POLICIES[name].distiller(spec, asm_config, policy_config)
    return {"asm": asm, "student": distiller.init(jax.random.key(7), (), jnp.zeros((1, 5))).params}


def make_batch(seed, spec, policy, frozen, with_next, rows=6):
    """A batch as the loop gives it: what a policy reads in place of observations comes packed."""
    rng = np.random.default_rng(seed)
    s, s_next = rng.normal(size=(2, rows, 5)).astype(np.float32)
    action = rng.integers(0, spec.cardinalities, (rows, spec.num_slots)).astype(np.int32)
    reward, discount = rng.normal(size=rows).astype(np.float32), (rng.random(rows) > 0.3).astype(np.float32)
    batch = Transition(s, action, reward, discount, s_next)
    if policy.encode is None:
        return batch
    z, z_next = (packed(policy.encode(frozen, x)) for x in (s, s_next))
    return batch._replace(x=z, next_x=z_next if with_next else None)


@pytest.fixture(scope="module", params=pairs())
def made(request, asm_config) -> Made:
    name, policy_name, spec = request.param
    policy_config = config(POLICIES, policy_name)
    policy = POLICIES[policy_name].make(spec, asm_config, policy_config)
    frozen = make_frozen(policy_name, spec, asm_config, policy_config)
    before = jax.tree.map(np.array, frozen)
    with jax.debug_nans(True):
        learner = LEARNERS[name].make(policy, spec, config(LEARNERS, name))
        batches = [make_batch(i, spec, policy, frozen, learner.asks_next) for i in range(3)]
        states, metrics, update = (
            [compiled_init(learner)(jax.random.key(0), frozen, jnp.zeros((1, 5)))],
            [],
            jax.jit(learner.update),
        )
        for step, batch in enumerate(batches):
            state, found = update(states[-1], frozen, batch, jax.random.key(step))
            states.append(state)
            metrics.append(found)
        yield Made(learner, policy, spec, frozen, before, batches, states, metrics, update)


def assert_bit_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_metrics_are_finite_scalars_and_updates_keep_shapes_and_dtypes(made):
    """Under debug_nans: nothing on the way is NaN either."""
    for metrics in made.metrics:
        assert all(jnp.shape(m) == () and jnp.isfinite(m) for m in metrics.values()), metrics
    first, *others = (jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in made.states)
    assert all(other == first for other in others)
    assert int(made.states[-1].step) == 3


def test_state_is_a_named_tuple_of_arrays(made):
    assert made.states[0]._fields
    assert all(isinstance(leaf, jax.Array) for state in made.states for leaf in jax.tree.leaves(state))


def test_three_updates_are_one_program(made):
    assert made.update._cache_size() == 1


def test_every_parameter_learns_and_the_optimisers_hold_only_their_moments(made):
    """So no frozen array is in an optimiser: two moments of each trained number and nothing else."""
    first, last = made.states[0], made.states[-1]
    for part in {"policy", "critics", "value"} & set(first._fields):
        before, after = (flatten(getattr(state, part)) for state in (first, last))
        trained = before.values()
        for name in before:  # attention ignores its keys' bias, which gets a gradient of rounding errors alone
            assert name.endswith("key/bias") or not np.array_equal(before[name], after[name]), name
        moments = [x for x in jax.tree.leaves(getattr(last, f"{part}_opt")) if jnp.issubdtype(x.dtype, jnp.floating)]
        assert sum(x.size for x in moments) == 2 * sum(x.size for x in trained), part


def test_frozen_arrays_stay_bit_equal(made):
    assert_bit_equal(made.frozen, made.frozen_before)


def test_state_survives_a_checkpoint(made, tmp_path):
    CheckpointStore(tmp_path).save(3, made.states[-1], {})
    like = jax.eval_shape(lambda: made.learner.init(jax.random.key(0), made.frozen, jnp.zeros((1, 5))))
    restored = CheckpointStore(tmp_path).restore(like)
    assert jax.tree.structure(restored) == jax.tree.structure(made.states[-1])
    assert_bit_equal(restored, made.states[-1])


def test_actions_are_in_range_and_follow_from_the_key(made):
    act = jax.jit(made.learner.act)
    for key in (None, jax.random.key(1)):
        actions = [act(made.states[-1], made.frozen, made.batches[0].observation, key) for _ in range(2)]
        assert (actions[0].shape, actions[0].dtype) == ((6, made.spec.num_slots), jnp.int32)
        assert (actions[0] >= 0).all()
        assert (actions[0] < np.array(made.spec.cardinalities)[None]).all()
        np.testing.assert_array_equal(*actions)


repeated = pytest.mark.parametrize(
    "made", [pytest.param((*pair, SMALL), id="-".join(pair)) for pair in REPEATED], indirect=True
)


def assert_close(found, expected):
    """Of the policy the moments alone: Adam makes whole steps of gradients that are rounding errors."""
    (state, metrics), (other, other_metrics) = found, expected
    a, b = (state._replace(policy=()), metrics), (other._replace(policy=()), other_metrics)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


@pytest.mark.slow
@repeated
def test_a_scan_of_three_equals_three_steps(made):
    def step(state, inputs):
        number, batch = inputs
        return made.learner.update(state, made.frozen, batch, jax.random.key(number))

    batches = jax.tree.map(lambda *rows: jnp.stack(rows), *made.batches)
    found = jax.jit(lambda s: jax.lax.scan(step, s, (jnp.arange(3), batches)))(made.states[0])
    assert_close(found, (made.states[-1], jax.tree.map(lambda *rows: jnp.stack(rows), *made.metrics)))


@pytest.mark.slow
@repeated
def test_jit_equals_no_jit(made):
    found = made.learner.update(made.states[0], made.frozen, made.batches[0], jax.random.key(0))
    assert_close(found, (made.states[1], made.metrics[0]))
