"""A one-step decision problem with a known answer: a state has a few right joint actions, far apart ("modes").

Every state belongs to one of C clusters. A cluster has M joint actions (modes), any two of which differ in many slots.
In one half of the clusters, the coupled ones, every row of the log plays one mode, drawn uniformly: a policy must learn
which choices belong together. The other half has the same modes and the same distribution in every slot, but draws a
mode for each slot independently: the slots are independent, so a product distribution is all there is to learn.

The best product. Of all product distributions pi(a|s) = prod_i p_i(a_i|s), the one that gives the log the largest
likelihood (cloning approaches it, as it minimises the cross-entropy) has the log's own marginals as p_i (Gibbs'
inequality, slot by slot). Its log-likelihood, -sum_i H(p_i), is the largest of any product. Its probability of playing
a mode, sum_m prod_i p_i(m_i), is the exact-match rate that policies are compared with. A product that puts all its
probability on ONE mode also always plays a mode, but it does not reproduce the log. Cloning does not end there, and
weighting by advantages leads there only if modes differ in value.
"""

import dataclasses

import numpy as np

from spin_jax.types import ActionSpec, Transition

NOISE = 0.5  # the largest distance of an observation from its cluster's centre, in every feature


@dataclasses.dataclass(frozen=True)
class OneStepTask:
    """The problem's clusters: centres [C, S] in {-1, 1}, coupled [C] bool, modes [C, M, N]; values [M] of the modes.

    A mode's value is the reward for playing it. Episodes have one step and terminate.
    """

    spec: ActionSpec
    centres: np.ndarray
    coupled: np.ndarray
    modes: np.ndarray
    values: np.ndarray

    def observations(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """[rows, S] float32: the clusters' centres, in equal shares, plus uniform noise of at most NOISE a feature."""
        cluster = rng.permutation(np.arange(rows) % len(self.centres))
        return (self.centres[cluster] + rng.uniform(-NOISE, NOISE, (rows, self.centres.shape[1]))).astype(np.float32)

    def cluster(self, observation: np.ndarray) -> np.ndarray:
        """[B] the cluster of observation [B, S]; the noise is too small to reach another cluster."""
        return (np.sign(observation) @ self.centres.T).argmax(-1)

    def reward(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """[B] float32: the value of the mode that action [B, N] is in the state's cluster; 0 for other actions."""
        match = (self.modes[self.cluster(observation)] == action[:, None]).all(-1)
        return (match @ self.values).astype(np.float32)

    def log(self, rng: np.random.Generator, rows: int) -> Transition:
        """`rows` terminal transitions (discount 0, s' = s), drawn as the module's docstring says."""
        observation = self.observations(rng, rows)
        cluster = self.cluster(observation)
        drawn = rng.integers(self.modes.shape[1], size=(rows, 1, self.spec.num_slots))
        drawn = np.where(self.coupled[cluster, None, None], drawn[..., :1], drawn)
        action = np.take_along_axis(self.modes[cluster], drawn, axis=1)[:, 0].astype(np.int32)
        reward = self.reward(observation, action)
        return Transition(observation, action, reward, np.zeros(rows, np.float32), observation)

    def marginals(self) -> np.ndarray:
        """p_i of the best product, [C, N, K]: the share of the M modes that make each choice."""
        return (self.modes[..., None] == np.arange(self.spec.num_choices)).mean(1)

    def product_match_rate(self) -> float:
        """Probability that the best product plays a mode, averaged over clusters (the same for both halves)."""
        chosen = np.take_along_axis(self.marginals()[:, None], self.modes[..., None], axis=-1)
        return float(chosen[..., 0].prod(-1).sum(-1).mean())

    def product_log_likelihood(self) -> float:
        """Mean log-probability, in nats, of the log's joint actions under the best product.

        No product reaches more. The best policy of all reaches -log M in coupled states, and this value in the others.
        """
        p = self.marginals()
        return float((p * np.log(np.where(p > 0, p, 1))).sum((-2, -1)).mean())


def make_one_step(
    seed: int,
    cardinalities: tuple[int, ...] = (3, 2, 3, 4, 3, 3),
    num_pairs: int = 2,
    num_modes: int = 3,
    num_features: int = 4,
    min_distance: int = 4,
    values: tuple[float, ...] = (),
) -> OneStepTask:
    """The problem of a seed: num_pairs coupled clusters, and num_pairs others with the same modes.

    Any two modes of a cluster differ in at least min_distance slots. values: one for each mode; empty = 1 for each.
    Raises ValueError if there are too few features or joint actions for this, or if the number of values is wrong.
    """
    rng, spec = np.random.default_rng(seed), ActionSpec(cardinalities)
    if len(values or (1.0,) * num_modes) != num_modes:
        raise ValueError(f"values must name what each of the {num_modes} modes pays, got {values}.")
    if 2 * num_pairs > 2**num_features:
        raise ValueError(f"{num_features} features separate {2**num_features} clusters, asked for {2 * num_pairs}.")
    corners = rng.permutation(2**num_features)[: 2 * num_pairs]
    centres = 2.0 * (corners[:, None] >> np.arange(num_features) & 1) - 1
    modes = np.stack([_far_apart(rng, spec, num_modes, min_distance) for _ in range(num_pairs)])
    coupled = np.arange(2 * num_pairs) < num_pairs
    return OneStepTask(spec, centres, coupled, np.tile(modes, (2, 1, 1)), np.asarray(values or (1.0,) * num_modes))


def _far_apart(rng: np.random.Generator, spec: ActionSpec, count: int, min_distance: int) -> np.ndarray:
    """[count, N] joint actions: random ones, each kept if it differs in min_distance slots from all kept before."""
    kept = np.empty((0, spec.num_slots), int)
    for action in rng.integers(0, spec.cardinalities, (10_000, spec.num_slots)):
        if len(kept) == count:
            break
        if ((kept != action).sum(-1) >= min_distance).all():
            kept = np.vstack([kept, action])
    if len(kept) < count:
        raise ValueError(
            f"Found {len(kept)} of {count} joint actions of {spec.cardinalities} that differ in at least "
            f"{min_distance} slots: ask for fewer modes or a smaller min_distance."
        )
    return kept
