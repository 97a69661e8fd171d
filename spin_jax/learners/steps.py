"""The steps that offline learners share: of decomposed critics, of the policy (weighted cloning), and of a gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from spin_jax.learners.base import CriticLearnerConfig
from spin_jax.models.mlp import Critics
from spin_jax.objectives.policy_extraction import weighted_cloning
from spin_jax.objectives.value_learning import q_values, td_loss
from spin_jax.policies.base import Policy, encoded, read
from spin_jax.types import ActionSpec, Transition


def make_rate(config: CriticLearnerConfig) -> optax.ScalarOrSchedule:
    """The learning rate of all networks: constant (published), or multiplied by lr_decay after every gradient step."""
    if config.lr_decay == 1:
        return config.learning_rate
    return optax.exponential_decay(config.learning_rate, transition_steps=1, decay_rate=config.lr_decay)


def gradient_step(
    optimiser: optax.GradientTransformation, loss_fn: Callable, params: Any, opt_state: Any
) -> tuple[Any, Any, jax.Array, Any]:
    """One optimiser step on loss_fn(params) -> (loss, aux); returns (params, opt_state, loss, aux)."""
    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimiser.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss, aux


class CriticSteps(NamedTuple):
    """Decomposed critics and their step.

    init(key, observation [1, S]) -> params; utilities(params, observation) -> [E, B, N, K], scaled so that their sum
    over slots is Q; q(params, batch) -> [E, B]; step(params, opt_state, batch, target [B], penalty) -> (params,
    opt_state, loss), penalty(utilities) -> a scalar that is added to the loss.
    """

    init: Callable
    utilities: Callable
    q: Callable
    step: Callable


def make_critics(
    spec: ActionSpec, config: CriticLearnerConfig, optimiser: optax.GradientTransformation, vectorised: bool
) -> CriticSteps:
    """The critics of a learner.

    vectorised: as IQL's and BCQ's in the published code, which are one vectorised module with initial values of its own
    (models.mlp.Critics) and the mean of the critics' losses. Otherwise as AWAC's, whose losses are summed.
    """
    module = Critics(spec, num_critics=config.num_critics, width=config.critic_width, vectorised=vectorised)
    scale = 1 / spec.num_slots if config.q == "mean" else 1.0

    def init(key, observation):
        return module.init(key, observation)["params"]

    def utilities(params, observation):
        return module.apply({"params": params}, observation) * scale

    def q(params, batch: Transition):
        return q_values(utilities(params, batch.observation), batch.action)

    def step(params, opt_state, batch: Transition, target, penalty=lambda utilities: 0.0):
        def loss_fn(params):
            u = utilities(params, batch.observation)
            losses = td_loss(q_values(u, batch.action), target)
            return (losses.mean() if vectorised else losses.sum()) + penalty(u), ()

        return gradient_step(optimiser, loss_fn, params, opt_state)[:3]

    return CriticSteps(init, utilities, q, step)


class ActorSteps(NamedTuple):
    """The policy's step: weighted cloning, with the loss -mean(weight * log pi(a|s)).

    init(key, frozen, observation) -> (params, opt_state); step(params, opt_state, frozen, batch, weight [B], key) ->
    (params, opt_state, loss).
    """

    init: Callable
    step: Callable


def make_actor(policy: Policy, learning_rate: optax.ScalarOrSchedule) -> ActorSteps:
    """The policy's step in every learner; learners differ only in the weight.

    For a policy without parameters, step changes nothing and its loss is 0.
    """
    optimiser = policy.optimiser(learning_rate)

    def init(key, frozen, observation):
        params = policy.init(key, frozen, observation)
        return params, optimiser.init(params)

    def step(params, opt_state, frozen, batch: Transition, weight, key):
        if not jax.tree.leaves(params):
            return params, opt_state, jnp.zeros(())

        def loss_fn(params):
            return weighted_cloning(policy.log_prob(params, frozen, read(batch), batch.action, key), weight), ()

        return gradient_step(optimiser, loss_fn, params, opt_state)[:3]

    return ActorSteps(init, step)


def wait_until(start: int, now: jax.Array, step: Callable, params: Any, opt_state: Any) -> tuple[Any, Any, jax.Array]:
    """step(params, opt_state) -> (params, opt_state, loss), run only from step `start` on; before, the loss is 0."""
    if start == 0:
        return step(params, opt_state)
    return jax.lax.cond(now >= start, step, lambda *same: (*same, jnp.zeros(())), params, opt_state)


def init_networks(
    key: jax.Array,
    frozen: Any,
    observation: jax.Array,
    actor: ActorSteps,
    critics: CriticSteps,
    value: nn.Module,
    optimiser: optax.GradientTransformation,
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Initial ((policy, critics, value) parameters, their optimiser states) of a learner that has all three."""
    policy_key, critics_key, value_key = jax.random.split(key, 3)
    policy_params, policy_opt = actor.init(policy_key, frozen, observation)
    q_params = critics.init(critics_key, observation)
    v_params = value.init(value_key, observation)["params"]
    return (policy_params, q_params, v_params), (policy_opt, optimiser.init(q_params), optimiser.init(v_params))


def make_player(policy: Policy, critics: CriticSteps | None, spec: ActionSpec) -> dict[str, Any]:
    """The fields act, greedy_noise and probabilities of a learner that plays what the policy chooses.

    The policy's `choose` gets the utilities of state.critics; of a learner without critics, 0 for every choice.
    """

    def act(state, frozen, observation, source):
        if critics is None:
            utilities = jnp.zeros((1, observation.shape[0], *spec.valid.shape))
        else:
            utilities = critics.utilities(state.critics, observation)
        return policy.choose(state.policy, frozen, encoded(policy, frozen, observation), utilities, source)

    def probabilities(state, frozen, observation):
        assert policy.probabilities is not None  # offered only if the policy has them
        return policy.probabilities(state.policy, frozen, encoded(policy, frozen, observation))

    return {
        "act": act,
        "greedy_noise": policy.greedy_noise,
        "probabilities": None if policy.probabilities is None else probabilities,
    }
