"""Advantage-weighted actor-critic (AWAC, Nair et al. 2020) with decomposed critics.

V learns the policy's expected Q. The expectation is exact for policies with independent slots, and sampled for others.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.fields import Positive, Size, Weight
from spin_jax.learners.base import CriticLearnerConfig, Learner
from spin_jax.learners.steps import gradient_step, init_networks, make_actor, make_critics, make_player, make_rate
from spin_jax.models.mlp import Value
from spin_jax.objectives.policy_extraction import exponential_weight, normalised
from spin_jax.objectives.value_learning import td_target
from spin_jax.policies.base import Policy, read
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class AWACConfig(CriticLearnerConfig, where="config.awac."):
    """Published values: temperature (lambda) 0.3, weight_clip 100, no normalize_weights, bc_alpha 0, value_width 256.

    normalize_weights: divide the weights by their mean over the batch. bc_alpha: weight of plain cloning beside
    weighted cloning. value_width: units of each of V's two hidden layers. always_dropout: dropout is on where V's
    target asks the policy for its expectation (published). Raises ValueError if a value is out of range.
    """

    temperature: Positive
    weight_clip: Positive
    normalize_weights: bool
    bc_alpha: Weight
    value_width: Size
    always_dropout: bool = dataclasses.field(kw_only=True, metadata={"from": "train.always_dropout"})

    def cloning(self, weight: jax.Array) -> jax.Array:
        """The weight [B] of cloning in the policy's loss, of the advantages' weight [B]."""
        return (normalised(weight) if self.normalize_weights else weight) + self.bc_alpha


class AWACState(NamedTuple):
    policy: dict
    critics: dict
    target_critics: dict
    value: dict
    target_value: dict
    policy_opt: optax.OptState
    critics_opt: optax.OptState
    value_opt: optax.OptState
    step: jax.Array


def no_penalty(utilities: jax.Array, frozen: Any, batch: Transition, key: jax.Array) -> float:
    """No penalty: plain AWAC."""
    return 0.0


def make_awac(policy: Policy, spec: ActionSpec, config: AWACConfig, penalty: Callable = no_penalty) -> Learner:
    """The learner of `policy`; penalty(utilities [E, B, N, K], frozen, batch, key) is added to the critics' loss."""
    optimiser = optax.adam(make_rate(config))
    critics, value = make_critics(spec, config, optimiser, vectorised=False), Value(config.value_width)
    actor = make_actor(policy, make_rate(config))

    def init(key, frozen, observation) -> AWACState:
        params, opts = init_networks(key, frozen, observation, actor, critics, value, optimiser)
        policy_params, q_params, v_params = params
        q_targets, v_targets = jax.tree.map(jnp.copy, (q_params, v_params))
        return AWACState(policy_params, q_params, q_targets, v_params, v_targets, *opts, jnp.zeros((), jnp.int32))

    def update(state: AWACState, frozen, batch: Transition, key):
        """One step, in the published order:
        1. critics towards r + gamma d V_target(s');
        2. policy by cloning with weight exp(A / temperature), A = min Q_new(s, a) - V(s), critics AFTER their step;
        3. V towards the min over critics of E_pi[Q_target(s, .)], pi being the policy AFTER its step;
        4. Polyak averaging of target critics and target V.
        """
        v_key, penalty_key, actor_key = jax.random.split(key, 3)
        # 1. critics
        v_t = value.apply({"params": state.target_value}, batch.next_observation)
        target = td_target(batch.reward, batch.discount, config.gamma, v_t)
        new_critics, critics_opt, q_loss = critics.step(
            state.critics, state.critics_opt, batch, target, lambda u: penalty(u, frozen, batch, penalty_key)
        )

        # 2. policy
        advantage = critics.q(new_critics, batch).min(0) - value.apply({"params": state.value}, batch.observation)
        weight = exponential_weight(advantage, 1 / config.temperature, config.weight_clip)
        new_policy, policy_opt, policy_loss = actor.step(
            state.policy, state.policy_opt, frozen, batch, config.cloning(weight), actor_key
        )

        # 3. V
        utilities = critics.utilities(state.target_critics, batch.observation)
        expected = policy.expected_utility(new_policy, frozen, read(batch), utilities, v_key, config.always_dropout)

        def value_loss(params):
            v = value.apply({"params": params}, batch.observation)
            return ((v - jax.lax.stop_gradient(expected)) ** 2).mean(), v

        new_value, value_opt, v_loss, v = gradient_step(optimiser, value_loss, state.value, state.value_opt)

        # 4. targets
        new, old = (new_critics, new_value), (state.target_critics, state.target_value)
        targets = optax.incremental_update(new, old, config.tau)
        metrics = {
            "value_loss": v_loss,
            "critic_loss": q_loss,
            "policy_loss": policy_loss,
            "value": v.mean(),
            "advantage": advantage.mean(),
            "weight": weight.mean(),
            "weight_clipped": (advantage >= config.temperature * jnp.log(config.weight_clip)).mean(),
        }
        opts = policy_opt, critics_opt, value_opt
        return AWACState(new_policy, new_critics, targets[0], new_value, targets[1], *opts, state.step + 1), metrics

    return Learner(init, update, **make_player(policy, critics, spec))
