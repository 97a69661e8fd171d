"""Oracles: every offline learner by hand. Forward passes, back-propagation and Adam in numpy float64."""

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.policies.base import Policy, factored_policy
from spin_jax.types import ActionSpec, Transition

SPEC = ActionSpec((2, 3, 2))
# a large tau and rate, so that three steps move everything; rates that float32 holds exactly, as schedules are float32
COMMON = dict(gamma=0.9, tau=0.1, learning_rate=2**-7, lr_decay=0.5, q="sum", num_critics=2, critic_width=7)


def make_batch(seed: int, rows: int = 16) -> Transition:
    rng = np.random.default_rng(seed)
    return Transition(
        rng.normal(size=(rows, 5)),
        rng.integers(0, SPEC.cardinalities, (rows, 3)).astype(np.int32),
        rng.normal(size=rows),
        (rng.random(rows) > 0.3).astype(float),
        rng.normal(size=(rows, 5)),
    )


def table_policy() -> Policy:
    """A vector of logits a slot, whatever the state: its gradient has a closed form."""

    def init(key, frozen, observation):
        return {f"slot_{i}": 0.1 * jnp.arange(k, dtype=float) for i, k in enumerate(SPEC.cardinalities)}

    def logits(params, frozen, observation, key):
        table = jnp.stack([jnp.pad(params[f"slot_{i}"], (0, 3 - k)) for i, k in enumerate(SPEC.cardinalities)])
        return jnp.broadcast_to(table[None], (len(observation), *table.shape))

    return factored_policy(SPEC, init, logits)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


class NumpyLearner:
    """The state's networks, and the steps that the algorithms below share."""

    mean_over_critics = True  # of their losses; otherwise the sum

    def __init__(self, state, config: dict):
        for name, value in jax.tree.map(np.array, state)._asdict().items():
            setattr(self, name, value)
        self.config, self.moments, self.t = config, {}, 0
        self.scale, self.num_critics = 1 / 3 if config.get("q") == "mean" else 1.0, config.get("num_critics")

    def forward(self, params, x):
        """Inputs of every layer, then the output."""
        inputs = [x]
        for i in range(3):
            x = x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]
            x = np.maximum(x, 0) if i < 2 else x
            inputs.append(x)
        return inputs

    def descend(self, name, params, inputs, gradient):
        """Adam on every layer, given the gradient of the loss by the output."""
        for i in (2, 1, 0):
            layer = params[f"Dense_{i}"]
            below = (gradient @ layer["kernel"].T) * (inputs[i] > 0)
            self.adam(f"{name}/{i}/kernel", layer["kernel"], inputs[i].T @ gradient)
            self.adam(f"{name}/{i}/bias", layer["bias"], gradient.sum(0))
            gradient = below

    def adam(self, name, param, gradient):
        m, v = self.moments.setdefault(name, (np.zeros_like(param), np.zeros_like(param)))
        m[...] = 0.9 * m + 0.1 * gradient
        v[...] = 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
        rate = self.config["learning_rate"] * self.config.get("lr_decay", 1.0) ** (self.t - 1)
        param -= rate * m_hat / (np.sqrt(v_hat) + 1e-8)

    def utilities(self, critics, observation):
        """[E, B, N, K]."""
        outputs = [self.forward(critics[f"critic_{e}"], observation)[-1] for e in range(self.num_critics)]
        return self.scale * np.stack(outputs).reshape(-1, len(observation), 3, 3)

    def smaller_q(self, critics, batch):
        return (self.utilities(critics, batch.observation) * np.eye(3)[batch.action]).sum((2, 3)).min(0)

    def v(self, value, observation):
        return self.forward(value["MLP_0"], observation)[-1][:, 0]

    def probabilities(self):
        """[N, K] of the table policy, 0 on padding."""
        return np.stack([np.pad(softmax(p), (0, 3 - len(p))) for p in (self.policy[f"slot_{i}"] for i in range(3))])

    def fit_value(self, batch, loss_gradient):
        """V(s) before the step; loss_gradient(v) is by V of each row."""
        inputs = self.forward(self.value["MLP_0"], batch.observation)
        v = inputs[-1][:, 0].copy()
        self.descend("value", self.value["MLP_0"], inputs, loss_gradient(v)[:, None] / len(v))
        return v

    def fit_critics(self, batch, v_t, penalty_gradient=lambda utilities, taken: 0.0):
        """Squared TD errors; penalty_gradient(utilities [B, N, K], taken) is by each row's utilities."""
        rows, taken = len(batch.reward), np.eye(3)[batch.action]
        target = batch.reward + self.config["gamma"] * batch.discount * v_t
        share = 1 / self.num_critics if self.mean_over_critics else 1.0
        for e in range(self.num_critics):
            inputs = self.forward(self.critics[f"critic_{e}"], batch.observation)
            utilities = self.scale * inputs[-1].reshape(rows, 3, 3)
            error = (utilities * taken).sum((1, 2)) - target
            gradient = share * 2 * error[:, None, None] * taken + penalty_gradient(utilities, taken)
            self.descend(
                f"critic_{e}", self.critics[f"critic_{e}"], inputs, self.scale * gradient.reshape(rows, 9) / rows
            )

    def clone(self, batch, weight):
        for i, k in enumerate(SPEC.cardinalities):
            logits = self.policy[f"slot_{i}"]
            gradient = -(weight[:, None] * (np.eye(k)[batch.action[:, i]] - softmax(logits))).mean(0)
            self.adam(f"policy/{i}", logits, gradient)
        return weight

    def average(self, name):
        mix, new = self.config["tau"], getattr(self, name)
        setattr(self, f"target_{name}", jax.tree.map(lambda t, p: (1 - mix) * t + mix * p, self.target(name), new))

    def target(self, name):
        return getattr(self, f"target_{name}")


class NumpyIQL(NumpyLearner):
    """Kostrikov et al. (2021)."""

    def update(self, batch):
        self.t += 1
        q = self.smaller_q(self.target_critics, batch)
        tau = self.config["expectile"]
        v = self.fit_value(batch, lambda v: -2 * np.where(q < v, 1 - tau, tau) * (q - v))
        self.fit_critics(batch, self.v(self.value, batch.next_observation))  # of the NEW value
        weight = np.minimum(np.exp(self.config["beta"] * (q - v)), self.config["weight_clip"])
        self.clone(batch, weight + self.config["bc_alpha"])
        self.average("critics")
        return weight


class NumpyAWAC(NumpyLearner):
    """Nair et al. (2020), with V towards the exact expectation; CQL's penalties (Kumar et al. 2020) where set."""

    mean_over_critics = False
    candidates = None  # [C, B, N]

    def update(self, batch):
        self.t += 1
        self.fit_critics(batch, self.v(self.target_value, batch.next_observation), self.penalty_gradient)
        advantage = self.smaller_q(self.critics, batch) - self.v(self.value, batch.observation)
        weight = np.minimum(np.exp(advantage / self.config["temperature"]), self.config["weight_clip"])
        mean = weight.mean() + 1e-8 if self.config["normalize_weights"] else 1.0
        self.clone(batch, weight / mean + self.config["bc_alpha"])
        expected = (self.utilities(self.target_critics, batch.observation) * self.probabilities()).sum((2, 3)).min(0)
        self.fit_value(batch, lambda v: 2 * (v - expected))
        self.average("critics")
        self.average("value")
        return weight

    def penalty_gradient(self, utilities, taken):
        """alpha times (the softmax's share of each utility - what was taken)."""
        if "alpha" not in self.config:
            return 0.0
        if self.config["penalty"] == "slots":
            share = softmax(np.where(SPEC.valid, utilities, -np.inf))
        else:
            joint = np.concatenate([np.eye(3)[self.candidates], taken[None]])  # [C + 1, B, N, K]
            share = (softmax((utilities * joint).sum((2, 3)), 0)[:, :, None, None] * joint).sum(0)
        return self.config["alpha"] * (share - taken)


class NumpyBCQ(NumpyLearner):
    """Fujimoto et al. (2019), slot by slot."""

    def update(self, batch):
        self.t += 1
        p = self.probabilities()
        allowed = p >= self.config["threshold"] * p.max(-1, keepdims=True)
        utilities = self.utilities(self.target_critics, batch.next_observation)
        self.fit_critics(batch, np.where(allowed, utilities, -np.inf).max(-1).sum(-1).min(0))
        self.clone(batch, np.ones(len(batch.reward)))
        self.average("critics")
        return allowed


class NumpyBC(NumpyLearner):
    """Maximum likelihood."""

    def update(self, batch):
        self.t += 1
        return self.clone(batch, np.ones(len(batch.reward)))
