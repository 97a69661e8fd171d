"""Three steps of every learner equal a plain-numpy reimplementation (numpy_learners.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_learners import COMMON, SPEC, NumpyAWAC, NumpyBC, NumpyBCQ, NumpyIQL, make_batch, table_policy

from spin_jax.learners.base import compiled_init
from spin_jax.registry import LEARNERS

# clips that some weights reach and others do not, a threshold that forbids some choices
IQL = dict(COMMON, expectile=0.8, beta=3.0, weight_clip=1.5, bc_alpha=0.2, value_width=6, extract_after=0)
AWAC = dict(
    COMMON, temperature=0.3, weight_clip=1.5, normalize_weights=False, bc_alpha=0.0, value_width=6, always_dropout=False
)
BCQ = dict(COMMON, threshold=0.87, q="mean", always_dropout=False)
CQL = dict(AWAC, alpha=0.7, candidates=4)
CASES = {
    "iql": ("iql", NumpyIQL, IQL),
    "iql, three critics": ("iql", NumpyIQL, dict(IQL, num_critics=3, weight_clip=1.0)),
    "awac": ("awac", NumpyAWAC, AWAC),
    "awac, normalised weights": ("awac", NumpyAWAC, dict(AWAC, normalize_weights=True, bc_alpha=0.2)),
    "bcq, q mean": ("bcq", NumpyBCQ, BCQ),
    "cql, slots": ("cql", NumpyAWAC, dict(CQL, penalty="slots")),
    "cql, candidates, q mean": ("cql", NumpyAWAC, dict(CQL, penalty="candidates", q="mean")),
    "bc": ("bc", NumpyBC, dict(learning_rate=0.01)),
}
CANDIDATES = np.random.default_rng(9).integers(0, SPEC.cardinalities, (4, 16, 3)).astype(np.int32)


@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_a_numpy_reimplementation(case):
    """In float64, where rounding cannot hide a difference that is one of method."""
    name, oracle, config = CASES[case]
    entry, policy = LEARNERS[name], table_policy()._replace(propose=lambda *_: jnp.asarray(CANDIDATES))
    with jax.enable_x64(True):
        learner = entry.make(policy, SPEC, entry.config(**config))
        state = compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 5)))
        state = jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
        networks = [part for part in ("critics", "value") if part in state._fields]
        noise = {part: jax.tree.map(lambda p: p + 0.1, getattr(state, part)) for part in networks}
        state = state._replace(**noise)  # away from the targets
        by_hand, update, branches = oracle(state, config), jax.jit(learner.update), []
        by_hand.candidates = CANDIDATES
        for step in range(3):
            batch = make_batch(step)
            state, _ = update(state, (), batch, jax.random.key(step))
            branches.append(by_hand.update(batch))
    for part in {"policy", "critics", "target_critics", "value", "target_value"} & set(state._fields):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10),
            getattr(state, part),
            getattr(by_hand, part),
        )
    if name != "bc":  # both branches of the clip, or of the support, were exercised
        taken = np.stack(branches) == (1 if name == "bcq" else config["weight_clip"])
        assert taken.any()
        assert not taken.all()
