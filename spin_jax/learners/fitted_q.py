"""Fitted Q evaluation (FQE, Le et al. 2019): critics of a given policy, learned from a log of another one.

Paine et al. 2020 and Fu et al. 2021 found it the best ranking of offline policies among methods of its cost. It is no
oracle: where the log hardly has what the policy does, its values mean nothing.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax

from spin_jax.errors import ConfigError
from spin_jax.fields import Batch, Count, Fraction, Positive, Range, Section, Size
from spin_jax.learners.base import Learner
from spin_jax.models.mlp import Critics
from spin_jax.objectives.value_learning import q_values
from spin_jax.policies.base import joint_q
from spin_jax.types import ActionSpec, Array, Transition


@dataclasses.dataclass(frozen=True)
class FittedQConfig(Section, where="config.ope."):
    """Settings of fitted Q evaluation.

    gamma: discount of one step. steps: gradient steps. batch_size: transitions. learning_rate: of Adam; it falls to 0
    as a cosine. tau: Polyak step of the targets. members: E, critics that are learned from resampled episodes. width:
    units of each of a critic's two hidden layers. draws: actions of the policy drawn in each next state.

    Raises ValueError if a value is out of range, or if the targets would be updated too seldom: information travels one
    step back for each of the tau * steps effective updates, so values would be shrunk towards 0 (measured: to a third)
    unless that is at least 4 / (1 - gamma).
    """

    gamma: Annotated[float, Range(0, 1, below=True)]
    steps: Count
    batch_size: Batch
    learning_rate: Positive
    tau: Fraction
    members: Size
    width: Size
    draws: Size

    def agree(self) -> None:
        need = 4 / (1 - self.gamma)
        if self.tau * self.steps < need:
            raise ConfigError(
                f"ope.tau * ope.steps = {self.tau * self.steps:.0f} effective updates of the target are too few for "
                f"gamma {self.gamma}: at least 4 / (1 - gamma) = {need:.0f} are needed. Take more ope.steps."
            )


class FittedQState(NamedTuple):
    critics: dict
    target_critics: dict
    opt: optax.OptState
    step: jax.Array


def make_fitted_q(spec: ActionSpec, config: FittedQConfig, low: float, high: float) -> Learner:
    """The learner; low, high: the smallest and the largest value that rewards of the log can add up to.

    Of a batch, x [B, E] is the weight of each row for each critic (how often its episode was drawn), and next_x
    [B, M, N] has M actions of the policy in s'. Targets are clipped to [low, high]: without that, a policy that the log
    does not support makes them diverge.
    """
    critics = Critics(spec, num_critics=config.members, width=config.width)
    optimiser = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))

    def init(key, frozen, observation) -> FittedQState:
        params = critics.init(key, observation)["params"]
        return FittedQState(params, jax.tree.map(jnp.copy, params), optimiser.init(params), jnp.zeros((), jnp.int32))

    def update(state: FittedQState, frozen, batch: Transition, key):
        """One step: every critic towards r + gamma d mean_m Q_target(s', a'_m), its own target, clipped; Polyak."""
        after = critics.apply({"params": state.target_critics}, batch.next_observation)
        v = joint_q(after, jnp.swapaxes(jnp.asarray(batch.next_x), 0, 1)).mean(0)  # [E, B]
        unclipped = batch.reward[None] + config.gamma * batch.discount[None] * v
        target = jax.lax.stop_gradient(unclipped.clip(low, high))

        def loss_fn(params):
            q = q_values(critics.apply({"params": params}, batch.observation), batch.action)
            return (jnp.asarray(batch.x).T * (q - target) ** 2).mean(1).sum()

        loss, grads = jax.value_and_grad(loss_fn)(state.critics)
        updates, opt = optimiser.update(grads, state.opt)
        params = optax.apply_updates(state.critics, updates)
        targets = optax.incremental_update(params, state.target_critics, config.tau)
        metrics = {"fitted_q_loss": loss, "clipped_targets": (target != unclipped).mean()}
        return FittedQState(params, targets, opt, state.step + 1), metrics

    def act(state: FittedQState, frozen, observation, key):
        """The greedy action of the critics' mean; FQE itself never acts."""
        utilities = critics.apply({"params": state.critics}, observation).mean(0)
        return jnp.where(spec.valid[None], utilities, -jnp.inf).argmax(-1).astype(jnp.int32)

    return Learner(init, update, act)


def start_values(
    spec: ActionSpec, config: FittedQConfig, params: dict, observation: Array, actions: Array
) -> jax.Array:
    """V(s) of every critic: [E, B], the mean of Q over actions [M, B, N] of the policy in observations [B, S]."""
    critics = Critics(spec, num_critics=config.members, width=config.width)
    return joint_q(critics.apply({"params": params}, observation), actions).mean(0)
