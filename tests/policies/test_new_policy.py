"""A policy that nobody registered before: one class of settings, one maker, and it passes the whole contract."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import pytest
import test_contract
import test_contract_critics
import test_contract_noise

from spin_jax.policies.base import factored_policy
from spin_jax.registry import POLICIES, PolicyEntry


@dataclasses.dataclass(frozen=True)
class LinearConfig:
    """Scale of the initial kernel."""

    scale: float


def make_linear(spec, asm_config, config):
    """Logits linear in the state."""

    def init(key, frozen, observation):
        shape = (observation.shape[-1], spec.num_slots, spec.num_choices)
        return {"kernel": config.scale * jax.random.normal(key, shape)}

    def logits(params, frozen, observation, key):
        keep = 1.0 if key is None else jax.random.bernoulli(key, 0.8, observation.shape) / 0.8  # dropout of the inputs
        return jnp.einsum("bs,snk->bnk", observation * keep, params["kernel"])

    return factored_policy(spec, init, logits)


@pytest.fixture(scope="module")
def made(make_one, spec, asm_config):
    """In place of the registered policies that the contract's tests usually get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(POLICIES, "linear", PolicyEntry(make_linear, LinearConfig, "linear", reads_asm=False))
        yield make_one("linear", spec, asm_config, (), LinearConfig(0.5))


@pytest.fixture(scope="module")
def in_order(made):
    return made


utilities, joint_q = test_contract_critics.utilities, test_contract_critics.joint_q  # fixtures of the contract
CONTRACT = {
    name: test
    for module in (test_contract, test_contract_critics, test_contract_noise)
    for name, test in vars(module).items()
    if name.startswith("test_") and {"made", "in_order"} & set(inspect.signature(test).parameters)
}
assert len(CONTRACT) > 8
globals().update(CONTRACT)
