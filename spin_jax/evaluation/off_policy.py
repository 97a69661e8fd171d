"""Off-policy evaluation: what a policy's value would be, estimated from a log of another policy.

Every policy is a function act(observation [B, S], key) -> [B, N] of observations as they stand in the log.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from spin_jax.evaluation.scores import bootstrap_interval
from spin_jax.learners.fitted_q import FittedQConfig, make_fitted_q, start_values
from spin_jax.training.loop import fit
from spin_jax.types import ActionSpec, Normaliser, Transition, normalise

Act = Callable[[jax.Array, jax.Array], jax.Array]
ROWS = 4096  # states in one call of a policy


def blocks(rows: int) -> list[slice]:
    """All rows, at most ROWS at once."""
    return [slice(i, i + ROWS) for i in range(0, rows, ROWS)]


class Log(NamedTuple):
    """Rows of a log in the order of its episodes, with one-step transitions."""

    data: Transition  # numpy arrays [T, …], observations as they stand in the log
    lengths: np.ndarray  # [episodes] steps of each
    propensity: np.ndarray | None = None  # [T] probability of the logged joint action

    @property
    def starts(self) -> np.ndarray:
        """[episodes] the row of each episode's first step."""
        return np.cumsum(self.lengths) - self.lengths

    def discounted_returns(self, gamma: float) -> np.ndarray:
        """[episodes] sum of gamma^t r_t of each episode, as far as it was logged."""
        t = np.concatenate([np.arange(n) for n in self.lengths])
        return np.add.reduceat(gamma**t * self.data.reward.astype(np.float64), self.starts)

    def unseen_share(self, gamma: float) -> float:
        """The largest gamma^T of an episode that did not terminate: the share of an endless return behind its end."""
        last = np.cumsum(self.lengths) - 1
        return float((gamma**self.lengths * self.data.discount[last]).max())


class Value(NamedTuple):
    """The value of a policy, discounted, from the first state of an episode."""

    mean: float
    low: float  # 95 % interval over members and episodes; it does not cover the bias of unsupported actions
    high: float
    clipped: float  # share of the last chunk's targets that were clipped


def draw(act: Act, observation: np.ndarray, count: int, key: jax.Array) -> np.ndarray:
    """[count, T, N] joint actions of a policy in observations [T, S]."""
    keys = jax.random.split(key, count)
    call = jax.jit(lambda rows, keys: jax.lax.map(lambda k: act(rows, k), keys))
    found = []
    for i in range(0, len(observation), ROWS):
        rows = observation[i : i + ROWS]
        padded = np.concatenate([rows, np.repeat(rows[:1], min(ROWS, len(observation)) - len(rows), 0)])
        at = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        found.append(np.asarray(call(padded, at))[:, : len(rows)])
    return np.concatenate(found, axis=1)


def episode_weights(lengths: np.ndarray, members: int, seed: int) -> np.ndarray:
    """[T, E] float32: how often each row's episode was drawn for each member, with replacement; the mean is 1."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(lengths), np.full(len(lengths), 1 / len(lengths)), members)  # [E, episodes]
    weights = np.repeat(counts, lengths, axis=1).T.astype(np.float32)
    return weights / weights.mean(0)


class RewardScale(NamedTuple):
    """(reward - shift) * scale, with which values are of order 1; shift is 0 where episodes terminate."""

    shift: float
    scale: float
    low: float  # the smallest and the largest value, scaled, that rewards of the log can add up to
    high: float

    def back(self, values: np.ndarray, gamma: float) -> np.ndarray:
        """Values in the log's own units."""
        return values / self.scale + self.shift / (1 - gamma)


def reward_scale(log: Log, gamma: float) -> RewardScale:
    """The scale of a log's rewards; where every episode terminates, none is longer than the longest of the log."""
    reward, discount = log.data.reward.astype(np.float64), log.data.discount
    endless, all_end = bool((discount > 0).all()), bool((discount[np.cumsum(log.lengths) - 1] == 0).all())
    steps = (1 - gamma ** log.lengths.max() if all_end else 1) / (1 - gamma)  # discounted
    shift = reward.mean() if endless else 0.0
    spread = np.abs(reward - shift).max() or 1.0
    scale = (1 - gamma) / spread if endless else 1 / np.abs(reward).max().clip(1e-9)
    values = (reward - shift) * scale * steps
    low, high = values.min(), values.max()
    return RewardScale(shift, scale, low if endless else min(low, 0.0), high if endless else max(high, 0.0))


def fitted_value(
    act: Act,
    log: Log,
    measured: Log,
    spec: ActionSpec,
    normaliser: Normaliser,
    config: FittedQConfig,
    key: jax.Array,
    what: str,
) -> Value:
    """Fitted Q evaluation of `act` on `log`; the value is the mean over the first states of the episodes `measured`."""
    draw_key, start_key, init_key, loop_key = jax.random.split(key, 4)
    scale = reward_scale(log, config.gamma)
    learner = make_fitted_q(spec, config, scale.low, scale.high)
    data = jax.device_put(
        log.data._replace(
            observation=normalise(normaliser, log.data.observation).astype(np.float32),
            next_observation=normalise(normaliser, log.data.next_observation).astype(np.float32),
            reward=((log.data.reward - scale.shift) * scale.scale).astype(np.float32),
            x=episode_weights(log.lengths, config.members, seed=0),
            next_x=np.swapaxes(draw(act, log.data.next_observation, config.draws, draw_key), 0, 1),
        )
    )
    clipped: dict[str, Any] = {}
    state = fit(
        learner,
        learner.init(init_key, (), data.observation[:1]),
        (),
        data,
        loop_key,
        num_steps=config.steps,
        batch_size=config.batch_size,
        max_chunk=1000,
        on_metrics=lambda step, metrics: clipped.update(metrics),
        what=what,
        show=("fitted_q_loss",),
    )
    first = measured.data.observation[measured.starts]
    actions = draw(act, first, 4 * config.draws, start_key)
    rows = normalise(normaliser, first).astype(np.float32)
    scaled = [start_values(spec, config, state.critics, rows[at], actions[:, at]) for at in blocks(len(rows))]
    values = scale.back(np.concatenate(scaled, axis=1).astype(np.float64), config.gamma)
    low, high = bootstrap_interval(values.mean(0))
    apart = values.mean(1) - values.mean()  # of the members, which saw different episodes
    return Value(
        mean=float(values.mean()),
        low=low + float(apart.min()),
        high=high + float(apart.max()),
        clipped=float(clipped["clipped_targets"].mean()),
    )


def importance_sampled_value(log_ratio: np.ndarray, log: Log, gamma: float) -> tuple[float | None, float]:
    """(value, effective number of episodes) by weighted importance sampling per episode; (None, 0) without a weight.

    log_ratio [T]: log pi(a|s) - log propensity of the logged joint actions, -inf for those that the policy never plays.
    The weight of an episode is the product of its ratios, so that long episodes soon leave an effective number near 1:
    then the value says nothing.
    """
    logs = np.add.reduceat(log_ratio.astype(np.float64), log.starts)
    if np.isneginf(logs).all():
        return None, 0.0
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    return float((weight * log.discounted_returns(gamma)).sum()), float(1 / (weight**2).sum())
