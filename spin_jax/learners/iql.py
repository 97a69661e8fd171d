"""Implicit Q-learning (Kostrikov et al. 2021) with decomposed critics, as SPIN's stage 2 uses it (Algorithm 2)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.fields import CountOrZero, Fraction, Positive, Size, Weight
from spin_jax.learners.base import CriticLearnerConfig, Learner
from spin_jax.learners.steps import (
    gradient_step,
    init_networks,
    make_actor,
    make_critics,
    make_player,
    make_rate,
    wait_until,
)
from spin_jax.models.mlp import Value
from spin_jax.objectives.policy_extraction import exponential_weight
from spin_jax.objectives.value_learning import expectile_loss, td_target
from spin_jax.policies.base import Policy
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class IQLConfig(CriticLearnerConfig, where="config.iql."):
    """Published values: expectile 0.8, beta 3, weight_clip 100, bc_alpha 0, value_width 256.

    bc_alpha: weight of plain cloning beside weighted cloning. value_width: units of each of V's two hidden layers.
    extract_after: the first gradient steps, in which only critics and value learn (0 = published). IQL's values never
    read the policy, so these cheap networks can learn before it. Raises ValueError if a value is out of range.
    """

    expectile: Fraction
    beta: Weight
    weight_clip: Positive
    bc_alpha: Weight
    value_width: Size
    extract_after: CountOrZero

    @property
    def policy_starts_at(self) -> int:
        return self.extract_after


class IQLState(NamedTuple):
    policy: dict
    critics: dict
    target_critics: dict
    value: dict
    policy_opt: optax.OptState
    critics_opt: optax.OptState
    value_opt: optax.OptState
    step: jax.Array


def make_iql(policy: Policy, spec: ActionSpec, config: IQLConfig) -> Learner:
    """The learner of `policy`, which may read the frozen ASM and start from it."""
    optimiser = optax.adam(make_rate(config))
    critics, value = make_critics(spec, config, optimiser, vectorised=True), Value(config.value_width)
    actor = make_actor(policy, make_rate(config))

    def init(key, frozen, observation) -> IQLState:
        (policy_params, q_params, v_params), opts = init_networks(
            key, frozen, observation, actor, critics, value, optimiser
        )
        targets = jax.tree.map(jnp.copy, q_params)
        return IQLState(policy_params, q_params, targets, v_params, *opts, jnp.zeros((), jnp.int32))

    def update(state: IQLState, frozen, batch: Transition, key):
        """One step, in the published order:
        1. V towards the min over target critics, by expectile regression;
        2. critics towards r + gamma d V_new(s');
        3. policy by advantage-weighted cloning, with the advantage from V BEFORE its update (from extract_after on);
        4. Polyak averaging of the target critics.
        """
        # 1. V
        target_q = critics.q(state.target_critics, batch).min(0)

        def value_loss(params):
            v = value.apply({"params": params}, batch.observation)
            return expectile_loss(target_q - v, config.expectile), v

        new_value, value_opt, v_loss, v = gradient_step(optimiser, value_loss, state.value, state.value_opt)

        # 2. critics
        v_t = value.apply({"params": new_value}, batch.next_observation)
        target = td_target(batch.reward, batch.discount, config.gamma, v_t)
        new_critics, critics_opt, q_loss = critics.step(state.critics, state.critics_opt, batch, target)

        # 3. policy
        advantage = target_q - v
        weight = exponential_weight(advantage, config.beta, config.weight_clip)

        def extract(params, opt_state):
            return actor.step(params, opt_state, frozen, batch, weight + config.bc_alpha, key)

        new_policy, policy_opt, policy_loss = wait_until(
            config.extract_after, state.step, extract, state.policy, state.policy_opt
        )

        # 4. targets
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
        opts = policy_opt, critics_opt, value_opt
        return IQLState(new_policy, new_critics, targets, new_value, *opts, state.step + 1), metrics

    return Learner(init, update, **make_player(policy, critics, spec))
