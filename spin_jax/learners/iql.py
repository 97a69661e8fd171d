"""Implicit Q-learning (Kostrikov et al. 2021) with decomposed critics, as SPIN's stage 2 uses it (Algorithm 2)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.learners.base import Learner
from spin_jax.models.mlp import Critics, Value
from spin_jax.objectives.policy_extraction import exponential_weight, weighted_cloning
from spin_jax.objectives.value_learning import expectile_loss, q_values, td_loss, td_target
from spin_jax.policies.base import Policy
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class IQLConfig:
    """Published values: expectile 0.8, beta 3, weight_clip 100, gamma 0.99, tau 0.005, learning_rate 3e-4.

    extract_after: gradient steps in which only critics and value learn before the policy starts to (0 = published):
    IQL's values never read the policy, so the cheap part can go first. Raises ValueError outside of the ranges.
    """

    expectile: float
    beta: float
    weight_clip: float
    gamma: float
    tau: float
    learning_rate: float
    extract_after: int

    def __post_init__(self):
        for name in ("expectile", "gamma", "tau"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"iql.{name} must lie in (0, 1], got {getattr(self, name)}.")
        for name in ("weight_clip", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"iql.{name} must be positive, got {getattr(self, name)}.")
        if not self.beta >= 0:
            raise ValueError(f"iql.beta must not be negative, got {self.beta}.")
        if self.extract_after < 0:
            raise ValueError(f"iql.extract_after must not be negative, got {self.extract_after}.")


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
    critics, value = Critics(spec), Value()
    optimiser = optax.adam(config.learning_rate)

    def init(key, frozen) -> IQLState:
        policy_key, critics_key, value_key = jax.random.split(key, 3)
        blank = jnp.zeros((1, num_features))
        params = (
            policy.init(policy_key, frozen),
            critics.init(critics_key, blank)["params"],
            value.init(value_key, blank)["params"],
        )
        targets = jax.tree.map(jnp.copy, params[1])
        opts = [optimiser.init(p) for p in params]
        return IQLState(params[0], params[1], targets, params[2], *opts, jnp.zeros((), jnp.int32))

    def descend(grads, opt_state, params):
        updates, opt_state = optimiser.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state

    def update(state: IQLState, frozen, batch: Transition, key):
        """One step, in the published order.

        1. V towards the min over target critics by expectile regression; 2. critics towards r + gamma d V_new(s');
        3. policy by advantage-weighted cloning, the advantage from the V BEFORE its update (from extract_after on);
        4. Polyak averaging of the target critics.
        """
        target_q = q_values(critics.apply({"params": state.target_critics}, batch.observation), batch.action).min(0)

        def value_loss(params):
            v = value.apply({"params": params}, batch.observation)
            return expectile_loss(target_q - v, config.expectile), v

        (v_loss, v), grads = jax.value_and_grad(value_loss, has_aux=True)(state.value)
        new_value, value_opt = descend(grads, state.value_opt, state.value)

        v_t = value.apply({"params": new_value}, batch.next_observation)
        target = td_target(batch.reward, batch.discount, config.gamma, v_t)

        def critic_loss(params):
            return td_loss(q_values(critics.apply({"params": params}, batch.observation), batch.action), target)

        q_loss, grads = jax.value_and_grad(critic_loss)(state.critics)
        new_critics, critics_opt = descend(grads, state.critics_opt, state.critics)

        advantage = target_q - v
        weight = exponential_weight(advantage, config.beta, config.weight_clip)

        def extract(args):
            def policy_loss(params):
                return weighted_cloning(policy.log_prob(params, frozen, batch.observation, batch.action, key), weight)

            loss, grads = jax.value_and_grad(policy_loss)(args[0])
            return *descend(grads, args[1], args[0]), loss

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

    def act(state: IQLState, frozen, observation, key):
        """The policy's mode where key is None, else a sample."""
        if key is None:
            return policy.mode(state.policy, frozen, observation)
        return policy.sample(state.policy, frozen, observation, key)

    return Learner(init, update, act)
