"""What a policy is, and how to make one from logits or from samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spin_jax.models import categorical
from spin_jax.models.gumbel import fixed_noise
from spin_jax.types import ActionSpec, Transition

EXPECTATION_SAMPLES = 4  # joint actions drawn for a Monte-Carlo expectation (AWAC, as published)
SUPPORT_CANDIDATES = 10  # joint actions drawn if the support cannot be listed slot by slot (BCQ, as published)


class Policy(NamedTuple):
    """A stochastic policy over joint actions as pure functions; `frozen` is never differentiated (the ASM's arrays).

    x below is the policy's input: the observation [B, S], or encode(frozen, observation) if the policy has `encode`.
    `utilities` [E, B, N, K] come from the critics for the same states, scaled so that Q is their sum over slots.
    `source` is a key or noise [B, G] (models.gumbel).

    init(key, frozen, observation [1, S]) -> params; of the observation only the shape is used. A policy with nothing to
        train has params ()
    log_prob(params, frozen, x, actions [B, N], key | None) -> [B]; a key switches dropout on
    sample(params, frozen, x, source) -> [B, N] int32, without dropout
    mode(params, frozen, x) -> [B, N] int32, the most probable joint action (a policy that decodes slot by slot: the
        greedy decoding)
    expected_utility(params, frozen, x, utilities, key, dropout=False) -> [B], the smaller critic's E_pi[Q(s, a)]; over
        drawn joint actions it is the mean of the smaller critic's Q
    best_in_support(params, frozen, x, utilities, threshold, source | None, dropout=False) -> (actions [B, N], value
        [B]) for BCQ. A product policy allows a choice that is at least `threshold` times as probable as its slot's best
        one; actions: in each slot the allowed choice with the largest smaller utility; value: the smaller critic's
        largest allowed Q. Other policies allow what they draw; actions: the draw with the largest Q of the smaller
        critic; value: that Q
        (`dropout`: whether dropout is on in these two, as in the published code; policies without dropout ignore it)
    choose(params, frozen, x, utilities, source | None) -> [B, N] int32: the actions to play; greedy if source is None
    greedy_noise [G]: choose with this noise in every row is choose without a source; G is what a state's choose needs
    support_noise [G]: the noise that best_in_support takes in every row if its source is None
    probabilities(params, frozen, x) -> [B, N, K], the probability of each choice of each slot, 0 on padding; None where
        slots depend on each other. Callers then estimate them as the shares of choices among many draws
    encode(frozen, observation) -> x, or None if the policy reads observations. Nothing before x is trained, so stage 2
        computes x once for the whole log and keeps it on the device. Such a policy needs the log in memory and one ASM
        for all seeds
    optimiser(learning_rate, a number or an optax schedule) -> the optax transformation that trains params
    propose(frozen, observation, key, count) -> [count, B, N], draws from the ASM; None where the policy reads no ASM
    """

    init: Callable[..., Any]
    log_prob: Callable[..., jax.Array]
    sample: Callable[..., jax.Array]
    mode: Callable[..., jax.Array]
    expected_utility: Callable[..., jax.Array]
    best_in_support: Callable[..., tuple[jax.Array, jax.Array]]
    choose: Callable[..., jax.Array]
    greedy_noise: np.ndarray
    support_noise: np.ndarray
    probabilities: Callable[..., jax.Array] | None = None
    encode: Callable[[Any, jax.Array], jax.Array] | None = None
    optimiser: Callable[[optax.ScalarOrSchedule], optax.GradientTransformation] = optax.adam
    propose: Callable[..., jax.Array] | None = None


def encoded(policy: Policy, frozen: Any, observation: jax.Array) -> jax.Array:
    """The policy's input x for an observation [B, S]."""
    return observation if policy.encode is None else policy.encode(frozen, observation)


def read(batch: Transition) -> jax.Array:
    """The policy's input x for the batch's states s."""
    return batch.observation if batch.x is None else batch.x


def read_next(batch: Transition) -> jax.Array:
    """The policy's input x for the batch's next states s'."""
    return batch.next_observation if batch.next_x is None else batch.next_x


def _choose(sample: Callable, mode: Callable) -> Callable:
    def choose(params, frozen, x, utilities, source):
        return mode(params, frozen, x) if source is None else sample(params, frozen, x, source)

    return choose


def factored_policy(spec: ActionSpec, init: Callable, logits: Callable, **others) -> Policy:
    """A policy with independent slots, pi(a|s) = prod_i pi(a_i|s): expectations and maxima are exact.

    logits(params, frozen, x, key | None) -> [B, N, K]. others: further fields of Policy.
    """
    valid = spec.valid

    def log_prob(params, frozen, x, actions, key=None):
        return categorical.log_prob(logits(params, frozen, x, key), actions, valid)

    def sample(params, frozen, x, source):
        return categorical.sample(source, logits(params, frozen, x, None), valid)

    def mode(params, frozen, x):
        return categorical.mode(logits(params, frozen, x, None), valid)

    def expected_utility(params, frozen, x, utilities, key, dropout=False):
        found = logits(params, frozen, x, key if dropout else None)
        probabilities = jnp.exp(categorical.log_softmax(found, valid))
        return (probabilities[None] * jnp.where(valid[None, None], utilities, 0)).sum((-2, -1)).min(0)

    def best_in_support(params, frozen, x, utilities, threshold, key, dropout=False):
        found = logits(params, frozen, x, key if dropout else None)
        allowed = categorical.support(found, valid, threshold)
        allowed_utilities = jnp.where(allowed[None], utilities, -jnp.inf)
        return allowed_utilities.min(0).argmax(-1).astype(jnp.int32), allowed_utilities.max(-1).sum(-1).min(0)

    def probabilities(params, frozen, x):
        return jnp.exp(categorical.log_softmax(logits(params, frozen, x, None), valid))

    return Policy(
        init,
        log_prob,
        sample,
        mode,
        expected_utility,
        best_in_support,
        _choose(sample, mode),
        greedy_noise=np.zeros(valid.size, np.float32),  # the largest logit alone
        support_noise=np.zeros(0, np.float32),
        probabilities=probabilities,
        **others,
    )


def in_every_row(noise: np.ndarray, x: jax.Array) -> jax.Array:
    """Noise [G] for every state of x [B, …]: [B, G]."""
    return jnp.broadcast_to(noise[None], (x.shape[0], noise.size))


def joint_q(utilities: jax.Array, candidates: jax.Array) -> jax.Array:
    """Q of candidates [C, B, N] under utilities [E, B, N, K]: [C, E, B]."""
    return jax.vmap(lambda actions: categorical.take(utilities, actions).sum(-1))(candidates)


def sampled_policy(
    init: Callable,
    log_prob: Callable,
    draw: Callable,
    mode: Callable,
    noise_per_draw: int,
    choose: Callable | None = None,
    greedy_noise: np.ndarray | None = None,
    candidates: int = SUPPORT_CANDIDATES,
    considered: Callable | None = None,
    **others,
) -> Policy:
    """A policy with slots that depend on each other: expectations and maxima are taken over drawn joint actions.

    draw(params, frozen, x, source, count) -> [count, B, N]; noise has noise_per_draw numbers for each draw of a state,
    those of a draw behind each other, and noise of zeros draws the mode. An expectation is the mean of
    EXPECTATION_SAMPLES joint actions, a support consists of `candidates` joint actions; considered: draws these, if not
    all draws are played. choose, with its greedy_noise: if it plays something else than a draw. others: further fields
    of Policy.
    """
    support_noise, considered = fixed_noise(candidates * noise_per_draw), considered or draw

    def sample(params, frozen, x, source):
        return draw(params, frozen, x, source, 1)[0]

    def expected_utility(params, frozen, x, utilities, key, dropout=False):
        return joint_q(utilities, considered(params, frozen, x, key, EXPECTATION_SAMPLES)).min(1).mean(0)

    def best_in_support(params, frozen, x, utilities, threshold, source, dropout=False):
        source = in_every_row(support_noise, x) if source is None else source
        drawn = considered(params, frozen, x, source, candidates)
        q = joint_q(utilities, drawn).min(1)  # [C, B]
        return jnp.take_along_axis(drawn, q.argmax(0)[None, :, None], axis=0)[0], q.max(0)

    return Policy(
        init,
        log_prob,
        sample,
        mode,
        expected_utility,
        best_in_support,
        choose or _choose(sample, mode),
        greedy_noise=np.zeros(noise_per_draw, np.float32) if greedy_noise is None else greedy_noise,
        support_noise=support_noise,
        **others,
    )
