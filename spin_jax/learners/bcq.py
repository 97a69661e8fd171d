"""Discrete batch-constrained Q-learning (Fujimoto et al. 2019) with decomposed critics."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.fields import Fraction
from spin_jax.learners.base import CriticLearnerConfig, Learner
from spin_jax.learners.steps import make_actor, make_critics, make_rate
from spin_jax.objectives.value_learning import td_target
from spin_jax.policies.base import Policy, encoded, read_next
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class BCQConfig(CriticLearnerConfig, where="config.bcq."):
    """threshold: a slot's choice is allowed if its probability is at least threshold times that of the slot's best.

    always_dropout: dropout is on where the target asks the policy for its support (published). The published threshold
    is 0.3. Raises ValueError if a value is out of range.
    """

    threshold: Fraction
    always_dropout: bool = dataclasses.field(kw_only=True, metadata={"from": "train.always_dropout"})


class BCQState(NamedTuple):
    policy: dict
    critics: dict
    target_critics: dict
    policy_opt: optax.OptState
    critics_opt: optax.OptState
    step: jax.Array


def make_bcq(policy: Policy, spec: ActionSpec, config: BCQConfig) -> Learner:
    """The learner: `policy` imitates the log, and the critics choose among the actions that it allows."""
    optimiser = optax.adam(make_rate(config))
    critics = make_critics(spec, config, optimiser, vectorised=True)
    actor = make_actor(policy, make_rate(config))

    def init(key, frozen, observation) -> BCQState:
        policy_key, critics_key = jax.random.split(key)
        policy_params, policy_opt = actor.init(policy_key, frozen, observation)
        q_params = critics.init(critics_key, observation)
        targets = jax.tree.map(jnp.copy, q_params)
        opts = policy_opt, optimiser.init(q_params)
        return BCQState(policy_params, q_params, targets, *opts, jnp.zeros((), jnp.int32))

    def update(state: BCQState, frozen, batch: Transition, key):
        """One step, in this order:

        1. critics towards r + gamma d Q', where Q' is the largest Q_target(s', .) among the actions that the policy
           allows before this step (of the smaller critic: `Policy.best_in_support`);
        2. policy by cloning with weight 1;
        3. Polyak averaging of the target critics.
        """
        support_key, actor_key = jax.random.split(key)
        # 1. critics
        utilities = critics.utilities(state.target_critics, batch.next_observation)
        _, best = policy.best_in_support(
            state.policy, frozen, read_next(batch), utilities, config.threshold, support_key, config.always_dropout
        )
        target = td_target(batch.reward, batch.discount, config.gamma, best)
        new_critics, critics_opt, q_loss = critics.step(state.critics, state.critics_opt, batch, target)
        # 2. policy
        new_policy, policy_opt, policy_loss = actor.step(
            state.policy, state.policy_opt, frozen, batch, jnp.ones_like(batch.reward), actor_key
        )
        # 3. targets
        targets = optax.incremental_update(new_critics, state.target_critics, config.tau)
        metrics = {"critic_loss": q_loss, "policy_loss": policy_loss, "value": best.mean()}
        return BCQState(new_policy, new_critics, targets, policy_opt, critics_opt, state.step + 1), metrics

    def act(state: BCQState, frozen, observation, source):
        """The allowed action that maximises the critics; only a policy that draws its support reads the source."""
        x, utilities = encoded(policy, frozen, observation), critics.utilities(state.critics, observation)
        return policy.best_in_support(state.policy, frozen, x, utilities, config.threshold, source)[0]

    return Learner(init, update, act, asks_next=True, greedy_noise=policy.support_noise)
