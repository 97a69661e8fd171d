"""Behaviour cloning: the baseline that the offline RL learners should beat."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.fields import Fraction, Positive
from spin_jax.learners.base import Learner, LearnerConfig
from spin_jax.learners.steps import make_actor, make_player
from spin_jax.policies.base import Policy
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class BCConfig(LearnerConfig, where="config.bc."):
    """learning_rate: of Adam. top_fraction: share of the episodes, those of the highest returns, that is cloned.

    Raises ConfigError if either is not positive, or if top_fraction is above 1.
    """

    learning_rate: Positive
    top_fraction: Fraction = 1.0

    @property
    def best_share(self) -> float:
        return self.top_fraction


class BCState(NamedTuple):
    policy: dict
    policy_opt: optax.OptState
    step: jax.Array


def make_bc(policy: Policy, spec: ActionSpec, config: BCConfig) -> Learner:
    """Maximum likelihood of the log's joint actions; no critic, no reward."""
    actor = make_actor(policy, config.learning_rate)

    def init(key, frozen, observation) -> BCState:
        params, opt_state = actor.init(key, frozen, observation)
        return BCState(params, opt_state, jnp.zeros((), jnp.int32))

    def update(state: BCState, frozen, batch: Transition, key):
        """One step of cloning with weight 1."""
        weight = jnp.ones_like(batch.reward)
        params, opt_state, loss = actor.step(state.policy, state.policy_opt, frozen, batch, weight, key)
        return BCState(params, opt_state, state.step + 1), {"policy_loss": loss}

    return Learner(init, update, **make_player(policy, None, spec))
