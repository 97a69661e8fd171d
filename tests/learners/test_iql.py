"""IQL against a plain-numpy reimplementation, and what stays untouched while it learns."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.learners.iql import IQLConfig, make_iql
from spin_jax.models import mlp
from spin_jax.policies.base import Policy
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.types import ActionSpec, Transition

# a large tau and rate, so that three steps move everything; a clip that some weights reach
CONFIG = dict(
    expectile=0.8, beta=3.0, weight_clip=1.5, gamma=0.9, tau=0.1, learning_rate=0.01, q="sum", extract_after=0
)
SPEC = ActionSpec((2, 3, 2))
SPIN = SPINConfig(queries="normal", heads="fresh", head_width=6, dropout=0.1, frozen_dropout=True)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(mlp, "HIDDEN", (7, 6))


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

    def init(key, frozen):
        del key, frozen
        return {f"slot_{i}": 0.1 * jnp.arange(k, dtype=float) for i, k in enumerate(SPEC.cardinalities)}

    def log_prob(params, frozen, observation, actions, key=None):
        return sum(jax.nn.log_softmax(params[f"slot_{i}"])[actions[:, i]] for i in range(SPEC.num_slots))

    return Policy(init, log_prob, *[None] * 5)


class NumpyIQL:
    """Kostrikov et al. (2021) by hand: forward passes, back-propagation and Adam in numpy."""

    def __init__(self, state):
        tree = jax.tree.map(np.array, state)
        self.policy, self.critics, self.targets = tree.policy, tree.critics, tree.target_critics
        self.value, self.moments, self.t = tree.value["MLP_0"], {}, 0

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
        param -= CONFIG["learning_rate"] * m_hat / (np.sqrt(v_hat) + 1e-8)

    def q(self, critics, batch):
        """[(layer inputs, chosen utilities summed [B])] of both critics."""
        passes = [self.forward(critics[f"critic_{e}"], batch.observation) for e in range(2)]
        rows, slots = np.arange(len(batch.reward))[:, None], np.arange(3)
        return [(p, p[-1].reshape(-1, 3, 3)[rows, slots, batch.action].sum(1)) for p in passes]

    def update(self, batch):
        self.t += 1
        rows = len(batch.reward)
        target_q = np.minimum(*(q for _, q in self.q(self.targets, batch)))
        inputs = self.forward(self.value, batch.observation)
        v_before = inputs[-1][:, 0].copy()
        u = target_q - v_before
        gradient = -2 * np.where(u < 0, 1 - CONFIG["expectile"], CONFIG["expectile"]) * u / rows
        self.descend("value", self.value, inputs, gradient[:, None])

        v_t = self.forward(self.value, batch.next_observation)[-1][:, 0]  # of the NEW value
        target = batch.reward + CONFIG["gamma"] * batch.discount * v_t
        chosen = np.eye(3)[batch.action].reshape(rows, 9)
        for e, (inputs, q) in enumerate(self.q(self.critics, batch)):
            gradient = (2 * (q - target) / rows)[:, None] * chosen
            self.descend(f"critic_{e}", self.critics[f"critic_{e}"], inputs, gradient)

        weight = np.minimum(np.exp(CONFIG["beta"] * (target_q - v_before)), CONFIG["weight_clip"])
        for i, k in enumerate(SPEC.cardinalities):
            logits = self.policy[f"slot_{i}"]
            p = np.exp(logits) / np.exp(logits).sum()
            self.adam(f"policy/{i}", logits, -(weight[:, None] * (np.eye(k)[batch.action[:, i]] - p)).mean(0))
        mix = CONFIG["tau"]
        self.targets = jax.tree.map(lambda t, c: (1 - mix) * t + mix * c, self.targets, self.critics)
        return weight


def test_three_steps_equal_a_numpy_reimplementation():
    """In float64, where rounding cannot hide a difference that is one of method."""
    with jax.enable_x64(True):
        learner = make_iql(table_policy(), SPEC, 5, IQLConfig(**CONFIG))
        state = learner.init(jax.random.key(0), ())
        state = jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
        noise = jax.tree.map(lambda p: p + 0.1, state.critics)  # away from the targets, biases away from 0
        state = state._replace(critics=noise)
        oracle, weights, update = NumpyIQL(state), [], jax.jit(learner.update)
        for step in range(3):
            batch = make_batch(step)
            state, _ = update(state, (), batch, jax.random.key(step))
            weights.append(oracle.update(batch))
        for found, expected in (
            (state.value["MLP_0"], oracle.value),
            (state.critics, oracle.critics),
            (state.target_critics, oracle.targets),
            (state.policy, oracle.policy),
        ):
            assert_close(found, expected)
    clipped = np.concatenate(weights) == CONFIG["weight_clip"]
    assert clipped.any()  # both branches of the weight were exercised
    assert not clipped.all()


def run(num_steps, policy=None, frozen=(), compiled=True, **changes):
    """The state before the first of `num_steps` updates and after each."""
    learner = make_iql(policy or table_policy(), SPEC, 5, IQLConfig(**{**CONFIG, **changes}))
    states = [jax.jit(learner.init)(jax.random.key(0), frozen)]
    update = jax.jit(learner.update) if compiled else learner.update
    for step in range(num_steps):
        batch = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, make_batch(step))
        state, metrics = update(states[-1], frozen, batch, jax.random.key(step))
        assert all(jnp.shape(m) == () and jnp.isfinite(m) for m in metrics.values())
        states.append(state)
    assert not compiled or update._cache_size() == 1  # it does not compile a second time
    return states


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def bit_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_policy_waits_for_extract_after_and_values_do_not():
    states = run(4, extract_after=2)
    parts = ("policy", "policy_opt", "critics", "value")
    moved = [[not bit_equal(getattr(a, p), getattr(b, p)) for p in parts] for a, b in itertools.pairwise(states)]
    assert moved == [[False, False, True, True]] * 2 + [[True] * 4] * 2


def test_waiting_changes_no_value():
    """IQL's values never read the policy: with and without the wait they are the same."""
    now, later = run(3)[-1], run(3, extract_after=2)[-1]
    assert_close(now[1:4], later[1:4])  # critics, target critics, value
    assert not bit_equal(now.policy, later.policy)


def test_frozen_parameters_stay_bit_equal_and_out_of_the_optimiser(asm_config, asm_params):
    before = jax.tree.map(np.array, asm_params)
    first, *_, last = run(3, make_spin(SPEC, 5, asm_config, SPIN), asm_params)
    jax.tree.map(np.testing.assert_array_equal, before, asm_params)
    assert set(last.policy) == {"queries", "heads"}
    for a, b in zip(jax.tree.leaves(first.policy), jax.tree.leaves(last.policy), strict=True):
        assert not np.array_equal(a, b)
    for params, opt in ((last.policy, last.policy_opt), (last.critics, last.critics_opt), (last.value, last.value_opt)):
        for moment in (opt[0].mu, opt[0].nu):
            assert jax.tree.map(jnp.shape, moment) == jax.tree.map(jnp.shape, params)
        assert len(jax.tree.leaves(opt)) == 2 * len(jax.tree.leaves(params)) + 1  # and Adam's count


@pytest.mark.slow
def test_jit_equals_no_jit():
    assert_close(run(2)[-1], run(2, compiled=False)[-1])


def test_critic_ranks():
    """Utilities [E, B, N, K] and V [B]: a column here would turn the targets into a square."""
    for module, shape in ((mlp.Critics(SPEC), (2, 4, 3, 3)), (mlp.Value(), (4,))):
        assert module.init_with_output(jax.random.key(0), jnp.zeros((4, 5)))[0].shape == shape


@pytest.mark.parametrize(
    "change",
    [{"expectile": 0.0}, {"expectile": 1.1}, {"gamma": 1.01}, {"tau": 0.0}, {"extract_after": -1}, {"tau": np.nan}],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"iql.{next(iter(change))}"):
        IQLConfig(**{**CONFIG, **change})
