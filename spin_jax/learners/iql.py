"""Implicit Q-learning (Kostrikov et al. 2021) with decomposed critics, as SPIN's stage 2 uses it (Algorithm 2)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.learners.base import Learner
from spin_jax.learners.steps import check_ranges, gradient_step, init_networks, make_act, make_actor, make_critics
from spin_jax.models.mlp import Value
from spin_jax.objectives.policy_extraction import exponential_weight
from spin_jax.objectives.value_learning import expectile_loss, td_target
from spin_jax.policies.base import Policy
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class IQLConfig:
    """Published values: expectile 0.8, beta 3, weight_clip 100, gamma 0.99, tau 0.005, learning_rate 3e-4, q 'sum'.

    extract_after: gradient steps in which only critics and value learn before the policy starts to (0 = published):
    IQL's values never read the policy, so the cheap part can go first. Raises ValueError outside of the ranges.
    """

    expectile: float
    beta: float
    weight_clip: float
    gamma: float
    tau: float
    learning_rate: float
    q: str
    extract_after: int

    def __post_init__(self):
        check_ranges(
            "iql", self, ("expectile", "gamma", "tau"), ("weight_clip", "learning_rate"), ("beta", "extract_after")
        )


class IQLState(NamedTuple):
    policy: dict
    critics: dict
    target_critics: dict
    value: dict
    policy_opt: optax.OptState
    critics_opt: optax.OptState
    value_opt: optax.OptState
    step: jax.Array


def make_iql(policy: Policy, spec: ActionSpec, num_features: int, config: IQLConfig) -> Learner:
    """The learner of `policy`, which may read the frozen ASM and start from it."""
    optimiser = optax.adam(config.learning_rate)
    critics, value = make_critics(spec, num_features, config.q, optimiser), Value()
    actor = make_actor(policy, config.learning_rate)

    def init(key, frozen) -> IQLState:
        (policy_params, q_params, v_params), opts = init_networks(
            key, frozen, actor, critics, value, num_features, optimiser
        )
        targets = jax.tree.map(jnp.copy, q_params)
        return IQLState(policy_params, q_params, targets, v_params, *opts, jnp.zeros((), jnp.int32))

    def update(state: IQLState, frozen, batch: Transition, key):
        """One step, in the published order.

        1. V towards the min over target critics by expectile regression; 2. critics towards r + gamma d V_new(s');
        3. policy by advantage-weighted cloning, the advantage from the V BEFORE its update (from extract_after on);
        4. Polyak averaging of the target critics.
        """
        target_q = critics.q(state.target_critics, batch).min(0)

        def value_loss(params):
            v = value.apply({"params": params}, batch.observation)
            return expectile_loss(target_q - v, config.expectile), v

        new_value, value_opt, v_loss, v = gradient_step(optimiser, value_loss, state.value, state.value_opt)

        v_t = value.apply({"params": new_value}, batch.next_observation)
        target = td_target(batch.reward, batch.discount, config.gamma, v_t)
        new_critics, critics_opt, q_loss = critics.step(state.critics, state.critics_opt, batch, target)

        advantage = target_q - v
        weight = exponential_weight(advantage, config.beta, config.weight_clip)

        def extract(args):
            return actor.step(*args, frozen, batch, weight, key)

        args = (state.policy, state.policy_opt)
        if config.extract_after:
            wait = lambda args: (*args, jnp.zeros(()))  # noqa: E731
            extracted = jax.lax.cond(state.step >= config.extract_after, extract, wait, args)
        else:
            extracted = extract(args)
        new_policy, policy_opt, policy_loss = extracted

        targets = optax.incremental_update(new_critics, state.target_critics, config.tau)
        metrics = {
            "value_loss": v_loss,
            "critic_loss": q_loss,
            "policy_loss": policy_loss,
            "value": v.mean(),
            "advantage": advantage.mean(),
            "weight": weight.mean(),
            "weight_clipped": (config.beta * advantage >= jnp.log(config.weight_clip)).mean(),
        }
        new_state = IQLState(
            new_policy, new_critics, targets, new_value, policy_opt, critics_opt, value_opt, state.step + 1
        )
        return new_state, metrics

    return Learner(init, update, make_act(policy, critics))
