"""Online DecQN: targets and one update by hand, and the two array libraries in agreement."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spin_jax.learners.decqn import DecQNConfig, NStep, decqn_target, make_decqn
from spin_jax.models.decqn import decqn_utilities, greedy, init_decqn, refine
from spin_jax.types import ActionSpec, Normaliser

# utilities [E, N, K] of two critics that answer every state alike
FIRST, SECOND = np.array([[1.0, 2.0], [5.0, 3.0]]), np.array([[4.0, 0.0], [1.0, 6.0]])
NORMALISER = Normaliser(np.array([1.0, 2, 3], np.float32), np.array([1.0, 2, 4], np.float32), np.float32(5))


def constant_critics():
    """Critics whose heads read nothing and have the tables above as biases."""
    critics = [init_decqn(np.random.default_rng(i), 3, 2, 2, width=4) for i in range(2)]
    for critic, table in zip(critics, (FIRST, SECOND), strict=True):
        critic["head"] = {"kernel": np.zeros((4, 4), np.float32), "bias": table.ravel().astype(np.float32)}
    return jax.tree.map(jnp.asarray, critics)


@pytest.fixture
def batch():
    """Two transitions; the second one terminates."""
    x = np.random.default_rng(2).normal(size=(2, 2, 3)).astype(np.float32)
    return NStep(x[0], np.array([[0, 1], [1, 0]]), np.array([1.0, 7.0]), np.array([0.5, 0.0]), x[1])


@pytest.mark.parametrize(("kind", "value"), [("mean", 3.5), ("min", 2.0)])
def test_target_hand_numbers(batch, kind, value):
    """The mean's table is [2.5, 1], [3, 4.5]: its maximum is 3.5 a slot; its greedy (0, 1) is worth 2 and 5."""
    target = decqn_target(constant_critics(), batch, 2, kind)
    np.testing.assert_allclose(target, [1 + 0.5 * value, 7], rtol=1e-6)


def test_one_update_by_hand(batch):
    """Q is the mean over slots, the loss Huber, the targets move by tau. Q: (1 + 3) / 2 = 2 and (2 + 5) / 2 = 3.5 of
    the first critic, 5 and 0.5 of the second; targets 2.75 and 7; errors 0.75, 3.5, 2.25, 6.5."""
    learner = make_decqn(ActionSpec((2, 2)), DecQNConfig(learning_rate=0.1, tau=0.2, width=4))
    critics = constant_critics()
    state = learner.init(jax.random.key(0), (), jnp.zeros((1, 3)))._replace(critics=critics, target_critics=critics)
    new, metrics = jax.jit(learner.update)(state, NORMALISER, batch, jax.random.key(1))
    assert float(metrics["q"]) == pytest.approx((2 + 3.5 + 5 + 0.5) / 4, rel=1e-6)
    assert float(metrics["td_loss"]) == pytest.approx((0.75**2 / 2 + 3 + 1.75 + 6) / 4, rel=1e-6)
    expected = optax.tree.add(optax.tree.scale(0.8, critics), optax.tree.scale(0.2, new.critics))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), new.target_critics, expected)
    # Adam's first step is the rate, towards the target
    moved = np.asarray(new.critics[0]["head"]["bias"] - critics[0]["head"]["bias"]).reshape(2, 2)
    np.testing.assert_allclose(moved, [[0.1, 0.1], [0.1, 0.1]], rtol=1e-4)
    assert float(new.critics[1]["head"]["bias"][3] - 6) == pytest.approx(-0.1, rel=1e-4)


def test_numpy_and_jax_utilities_agree():
    rng = np.random.default_rng(0)
    critics = [init_decqn(rng, 3, 2, 5, width=16) for _ in range(2)]
    critics = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(np.float32), critics)
    x = rng.normal(size=(32, 3)).astype(np.float32)
    ours, theirs = (decqn_utilities(critics[0], x, 2, xp) for xp in (np, jnp))
    assert ours.shape == (32, 2, 5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(greedy(critics, x, 2, np), greedy(critics, x, 2, jnp))


def test_utilities_are_the_described_network():
    """Oracle: float64 by hand: Dense, LayerNorm, tanh; one residual block, LayerNorm, ELU; linear head."""
    rng = np.random.default_rng(0)
    p = init_decqn(rng, 3, 2, 5, width=16)
    p = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), p)
    x = rng.normal(size=(8, 3))

    def norm(name, h):
        h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)
        return h * p[name]["scale"] + p[name]["bias"]

    h = np.tanh(norm("encoder_norm", x @ p["encoder"]["kernel"] + p["encoder"]["bias"]))
    inner = np.maximum(h @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    h = norm("residual_norm", h + inner @ p["residual"]["kernel"] + p["residual"]["bias"])
    h = np.where(h > 0, h, np.exp(h) - 1)
    expected = (h @ p["head"]["kernel"] + p["head"]["bias"]).reshape(8, 2, 5)
    np.testing.assert_allclose(decqn_utilities(p, x, 2), expected, rtol=1e-9)


def test_act_is_greedy_in_the_mean_of_the_normalised_state():
    learner = make_decqn(ActionSpec((5, 5)), DecQNConfig(width=16))
    state = learner.init(jax.random.key(0), (), jnp.zeros((1, 3)))
    x = np.random.default_rng(3).normal(size=(16, 3)).astype(np.float32)
    scaled = np.clip((x - NORMALISER.mean) / NORMALISER.std, -5, 5)
    utilities = np.mean([decqn_utilities(jax.tree.map(np.array, c), scaled, 2) for c in state.critics], axis=0)
    np.testing.assert_array_equal(learner.act(state, NORMALISER, x, None), utilities.argmax(-1))


def test_unknown_target_is_refused():
    with pytest.raises(ValueError, match="'mean' or 'min', got 'max'"):
        make_decqn(ActionSpec((2, 2)), DecQNConfig(target="max"))


def test_a_refined_critic_interpolates_between_the_old_choices():
    """Oracle: numpy.interp of every slot's utilities over [-1, 1]."""
    critic, x = init_decqn(np.random.default_rng(0), 3, 2, 3, width=4), np.random.default_rng(1).normal(size=(5, 3))
    critic["head"]["bias"] += np.arange(6, dtype=np.float32)
    old = decqn_utilities(critic, x, 2)
    for bins in (3, 5, 10):
        new = decqn_utilities(refine(critic, 2, bins), x, 2)
        expected = [[np.interp(np.linspace(-1, 1, bins), [-1, 0, 1], slot) for slot in row] for row in old]
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
