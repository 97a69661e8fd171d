"""Every network starts as PyTorch's defaults make it: kernels and biases uniform in +-1 / sqrt(fan-in)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.from_config import make_learner, make_policy
from spin_jax.models import categorical
from spin_jax.models.asm import ASM
from spin_jax.policies.distill import Student
from spin_jax.record.checkpoint import flatten
from spin_jax.registry import LEARNERS, POLICIES
from spin_jax.types import ActionSpec

SPEC, NUM_FEATURES = ActionSpec((3, 2, 4) * 4), 30
NORMAL = ("queries", "table", "choices")


def published(policy="saint", learner="iql"):
    config = get_config("paper")
    config.update(policy=policy, learner=learner)
    config.asm.update(width=64, num_blocks=2)
    return build(resolve(config))


def fan(name: str, arrays: dict, vectorised: bool) -> int:
    """The number whose root bounds a parameter, from the description of its layer."""
    *parents, leaf = name.split("/")
    if "lstm" in parents:
        return arrays["/".join([*parents, "kernel_hidden"])].shape[0]
    kernel = arrays["/".join([*parents, leaf.replace("bias", "kernel")])]
    if parents[-1:] == ["heads"]:  # [N, inputs, outputs]
        return kernel.shape[1]
    if parents[-1] in ("query", "key", "value"):  # [D, H, W]
        return kernel.shape[0]
    if vectorised and parents[-1] == "Dense_2":  # the real choices of all slots, no padding
        return sum(SPEC.cardinalities)
    return kernel.shape[-1] if vectorised else int(np.prod(kernel.shape[:-1]))


def assert_as_described(tree, vectorised=False):
    arrays = flatten(tree)
    for name, array in arrays.items():
        x, leaf = np.asarray(array, float).ravel(), name.split("/")[-1]
        if name.split("/")[-2:-1] and name.split("/")[-2].endswith("norm"):
            assert (x == (leaf == "scale")).all(), name
        elif leaf in NORMAL:
            assert x.std() == pytest.approx(1, abs=4 / np.sqrt(2 * x.size)), name
        else:
            bound = fan(name, arrays, vectorised) ** -0.5
            assert np.abs(x).max() <= bound, name
            # variance of u^2 for u uniform in [-1, 1] is 4 / 45; mean square 1 / 3
            assert (x**2).mean() == pytest.approx(bound**2 / 3, abs=4 * bound**2 * np.sqrt(4 / 45 / x.size)), name


@pytest.fixture(scope="module")
def asm():
    blank = jnp.zeros((1, NUM_FEATURES)), jnp.zeros((1, SPEC.num_slots), int)
    return jax.jit(ASM(SPEC, published().asm.model).init)(jax.random.key(0), *blank)["params"]


def test_a_fresh_asm(asm):
    assert_as_described(asm)


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"spin_decode", "spin_warm", "spin_cached"}))
def test_fresh_policies(policy, asm):
    run, blank = published(policy), jnp.zeros((1, NUM_FEATURES))
    student = Student(SPEC.num_slots, 256, 64).init(jax.random.key(1), blank)["params"]
    frozen = {"asm": asm, "student": student} if policy == "spin_distill" else asm
    assert_as_described(jax.jit(make_policy(run, SPEC).init)(jax.random.key(2), frozen, blank))


@pytest.mark.parametrize("learner", sorted(set(LEARNERS) - {"bc"}))
def test_fresh_critics_and_values(learner):
    """IQL's and BCQ's critics are one vectorised module in the published code, whose scale follows its outputs."""
    run = published("factored", learner)
    learner_ = make_learner(run, make_policy(run, SPEC), SPEC)
    state = jax.jit(learner_.init)(jax.random.key(0), (), jnp.zeros((1, NUM_FEATURES)))
    assert_as_described(state.critics, vectorised=learner in ("iql", "bcq"))
    if hasattr(state, "value"):
        assert_as_described(state.value)


def test_a_fresh_saint_is_nearly_uniform():
    """Slot entropy of at least 97 % of the maximum, at the published sizes."""
    config = get_config("paper")
    config.policy = "saint"
    run, spec = build(resolve(config)), ActionSpec((3,) * 6)
    observation = jax.random.normal(jax.random.key(1), (16, 17))
    policy = make_policy(run, spec)
    params = jax.jit(policy.init)(jax.random.key(0), (), observation[:1])
    one_hot = jnp.eye(18).reshape(18, 1, 1, 6, 3)

    @jax.jit
    def probabilities(params):
        repeated = jnp.repeat(one_hot, 16, axis=2)
        return jax.vmap(lambda u: policy.expected_utility(params, (), observation, u, None))(repeated)

    p = np.asarray(probabilities(params)).T.reshape(16, 6, 3)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    entropy = -(p * np.log(p)).sum(-1)
    assert entropy.mean() / np.log(3) > 0.97
    assert categorical.support(jnp.log(p), spec.valid, 0.3).all()
