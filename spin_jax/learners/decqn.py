"""Online DecQN (Seyde et al., "Solving Continuous Control via Q-learning", ICLR 2023), for behaviour policies.

Q(s, a) is the MEAN over slots of the chosen utilities; two critics; n-step returns; Huber loss; Polyak targets.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spin_jax.fields import Fraction, Positive, Section, Size
from spin_jax.learners.base import Learner
from spin_jax.models.decqn import decqn_utilities, greedy, init_decqn
from spin_jax.types import ActionSpec, normalise


@dataclasses.dataclass(frozen=True)
class DecQNConfig(Section, where="learner."):
    """Hyper-parameters; `target`: the value of s' that the two target critics give, 'mean' or 'min'.

    'mean': the maximum of the critics' mean. 'min': the smaller critic's value of the mean's greedy action. 'min'
    overestimates less, which tasks with about 20 slots or more need.
    """

    learning_rate: Positive = 3e-4
    tau: Fraction = 0.005
    clip_norm: Positive = 40.0
    target: Literal["mean", "min"] = "mean"
    width: Size = 256


class NStep(NamedTuple):
    """A batch of n-step transitions."""

    observation: jax.Array  # [B, S]
    action: jax.Array  # [B, N]
    reward: jax.Array  # [B], discounted sum over the steps
    discount: jax.Array  # [B], gamma^steps, 0 at termination
    next_observation: jax.Array  # [B, S]


class DecQNState(NamedTuple):
    critics: list
    target_critics: list
    opt_state: optax.OptState
    step: jax.Array


def decqn_target(critics: list, batch: NStep, num_slots: int, kind: str) -> jax.Array:
    """r + discount * Q_target(s', greedy a'), [B]; observations normalised; `kind` as DecQNConfig.target."""
    utilities = jnp.stack([decqn_utilities(c, batch.next_observation, num_slots, jnp) for c in critics])  # [E,B,N,K]
    mean = utilities.mean(0)
    if kind == "mean":
        value = mean.max(-1).mean(-1)
    else:
        best = mean.argmax(-1)[None, :, :, None]
        value = jnp.take_along_axis(utilities, best, axis=-1)[..., 0].mean(-1).min(0)
    return batch.reward + batch.discount * value


def make_decqn(spec: ActionSpec, config: DecQNConfig) -> Learner:
    """The learner; raises ValueError on an unknown config.target."""
    if config.target not in ("mean", "min"):
        raise ValueError(f"DecQNConfig.target must be 'mean' or 'min', got {config.target!r}.")
    num_slots = spec.num_slots
    optimiser = optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(config.learning_rate))

    def init(key, frozen, observation) -> DecQNState:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        critics = [init_decqn(rng, observation.shape[-1], num_slots, spec.num_choices, config.width) for _ in range(2)]
        critics = jax.tree.map(jnp.asarray, critics)
        return DecQNState(critics, jax.tree.map(jnp.copy, critics), optimiser.init(critics), jnp.zeros((), jnp.int32))

    def update(state: DecQNState, frozen, batch: NStep, key):
        """One step of the critics towards their target, then Polyak averaging; `frozen` is the Normaliser."""
        batch = batch._replace(
            observation=normalise(frozen, batch.observation), next_observation=normalise(frozen, batch.next_observation)
        )
        target = decqn_target(state.target_critics, batch, num_slots, config.target)

        def loss_fn(critics):
            utilities = jnp.stack([decqn_utilities(c, batch.observation, num_slots, jnp) for c in critics])
            q = jnp.take_along_axis(utilities, batch.action[None, :, :, None], axis=-1)[..., 0].mean(-1)  # [E, B]
            return optax.huber_loss(q, jnp.broadcast_to(target[None, :], q.shape)).mean(), q.mean()

        (loss, q), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.critics)
        updates, opt_state = optimiser.update(grads, state.opt_state)
        critics = optax.apply_updates(state.critics, updates)
        targets = optax.incremental_update(critics, state.target_critics, config.tau)
        metrics = {"td_loss": loss, "q": q}
        return DecQNState(critics, targets, opt_state, state.step + 1), metrics

    def act(state: DecQNState, frozen, observation, key):
        """Per-slot argmax of the critics' mean; the caller adds exploration."""
        return greedy(state.critics, normalise(frozen, observation), num_slots, jnp)

    return Learner(init, update, act)
