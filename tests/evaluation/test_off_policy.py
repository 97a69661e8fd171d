"""Off-policy evaluation against dynamic programming and hand-made tables."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.errors import WorkdirError
from spin_jax.evaluation.behaviour import clone_behaviour
from spin_jax.evaluation.off_policy import (
    Log,
    draw,
    episode_weights,
    fitted_value,
    importance_sampled_value,
    reward_scale,
)
from spin_jax.evaluation.support import in_words, joint_share, slot_support
from spin_jax.learners.fitted_q import FittedQConfig
from spin_jax.report.judgement import checked, judgement, plot_judgement
from spin_jax.stages.off_policy import _kept, settings_of
from spin_jax.types import ActionSpec, Transition, identity_normaliser

SPEC = ActionSpec((2, 3))
CONFIG = FittedQConfig(gamma=0.8, steps=1200, batch_size=128, learning_rate=3e-3, tau=0.1, members=2, width=32, draws=2)
STATES = 3


def reward_of(state, action):
    """In state s, slot 0 is paid s for its choice 1; slot 1 is paid 1 for its choice 2."""
    return state * (action[..., 0] == 1) + (action[..., 1] == 2)


def step(state, action):
    """The first slot decides whether the next state is one higher (a ring)."""
    return np.where(action[..., 0] == 1, (state + 1) % STATES, state)


def make_log(episodes=60, length=20, seed=0, terminal=False):
    """A log of uniformly random choices; one-hot states."""
    rng = np.random.default_rng(seed)
    state, rows = rng.integers(0, STATES, episodes), []
    for t in range(length):
        action = np.stack([rng.integers(0, k, episodes) for k in SPEC.cardinalities], -1)
        following = step(state, action)
        discount = np.full(episodes, float(not (terminal and t == length - 1)))
        rows.append((np.eye(STATES)[state], action, reward_of(state, action), discount, np.eye(STATES)[following]))
        state = following
    columns = [
        np.stack(column, 1).reshape(episodes * length, *column[0].shape[1:]) for column in zip(*rows, strict=True)
    ]
    kinds = (np.float32, np.int32, np.float32, np.float32, np.float32)
    return Log(Transition(*(c.astype(k) for c, k in zip(columns, kinds, strict=True))), np.full(episodes, length))


def always(first, second):
    """The policy with the same choices in every state."""
    return lambda observation, key: jnp.broadcast_to(jnp.array([first, second]), (observation.shape[0], 2))


def true_values(first, second, gamma=CONFIG.gamma):
    """V of `always` in each state, by solving the Bellman equation."""
    states, action = np.arange(STATES), np.array([[first, second]] * STATES)
    transition = np.eye(STATES)[step(states, action)]
    return np.linalg.solve(np.eye(STATES) - gamma * transition, reward_of(states, action))


@pytest.mark.parametrize(("first", "second"), [(1, 2), (0, 0)])
def test_fitted_values_equal_dynamic_programming(first, second):
    log = make_log()
    value = fitted_value(
        always(first, second), log, log, SPEC, identity_normaliser(STATES), CONFIG, jax.random.key(0), "test"
    )
    starts = log.data.observation[log.starts].argmax(-1)
    expected = true_values(first, second)[starts].mean()
    spread = np.ptp([true_values(a, b).mean() for a in range(2) for b in range(3)])
    assert abs(value.mean - expected) < 0.05 * spread
    assert value.low <= value.mean <= value.high


def test_targets_that_are_updated_too_seldom_are_refused():
    with pytest.raises(ValueError, match=r"12 effective updates .* at least 4 / \(1 - gamma\) = 400"):
        FittedQConfig(**(CONFIG.__dict__ | {"gamma": 0.99, "tau": 0.01}))


@pytest.mark.parametrize("terminal", [False, True])
def test_scaled_rewards_lead_back_to_the_logs_units(terminal):
    log = make_log(terminal=terminal)
    scale = reward_scale(log, 0.8)
    constant = 3.0  # a reward in every step of an endless episode has the value r / (1 - gamma)
    scaled = (constant - scale.shift) * scale.scale / (1 - 0.8)
    assert scale.back(np.array(scaled), 0.8) == pytest.approx(constant / (1 - 0.8))
    assert (scale.shift == 0) == terminal
    assert scale.low <= 0 <= scale.high
    if terminal:  # at most 20 steps of the largest reward, 2 + 1
        assert scale.back(np.array(scale.high), 0.8) == pytest.approx(3 * (1 - 0.8**20) / (1 - 0.8))
    else:
        assert max(-scale.low, scale.high) == pytest.approx(1)


def test_episodes_are_drawn_whole_for_each_member():
    lengths = np.array([3, 1, 4])
    weights = episode_weights(lengths, members=5, seed=1)
    assert weights.shape == (8, 5)
    np.testing.assert_allclose(weights.mean(0), 1, rtol=1e-6)
    for rows in np.split(weights, np.cumsum(lengths)[:-1]):
        assert (rows == rows[0]).all()
    assert len({tuple(column) for column in weights.T}) > 1


def test_drawn_actions_do_not_depend_on_how_many_rows_are_asked_at_once(monkeypatch):
    observation = np.eye(STATES, dtype=np.float32)[np.arange(10) % STATES]

    def act(rows, key):
        return rows.argmax(-1)[:, None] + jnp.arange(2)[None, :]

    whole = draw(act, observation, 2, jax.random.key(0))
    monkeypatch.setattr("spin_jax.evaluation.off_policy.ROWS", 4)
    np.testing.assert_array_equal(draw(act, observation, 2, jax.random.key(0)), whole)
    assert whole.shape == (2, 10, 2)


def test_importance_sampling_equals_a_hand_made_table():
    reward = np.array([1, 0, 2, 4], np.float32)
    data = Transition(np.zeros((4, 1)), np.zeros((4, 2), int), reward, np.ones(4), np.zeros((4, 1)))
    log = Log(data, np.array([2, 2]))
    # episode weights 2 * 1 and 0.5 * 1; returns 1 and 2 + 0.5 * 4
    value, episodes = importance_sampled_value(np.log([2, 1, 0.5, 1]), log, 0.5)
    assert value == pytest.approx((2 * 1 + 0.5 * 4) / 2.5)
    assert episodes == pytest.approx(2.5**2 / (4 + 0.25))
    np.testing.assert_allclose(log.discounted_returns(0.5), [1, 4])
    for never, expected in (([-np.inf, 0, 0, 0], (4, 1)), ([0, -np.inf, 0, -np.inf], (None, 0))):
        assert importance_sampled_value(np.array(never), log, 0.5) == expected
    tiny = np.array([-800.0, -100, -899, -1])  # smaller than any float64 that is not 0
    assert importance_sampled_value(tiny + np.log([1, 1, 3, 1]), log, 0.5)[0] == pytest.approx((1 + 3 * 4) / 4)


def test_a_deterministic_policy_is_supported_by_a_log_of_random_choices():
    rng, rows = np.random.default_rng(0), 5000
    action = np.stack([rng.integers(0, k, rows) for k in SPEC.cardinalities], -1)
    behaviour = np.broadcast_to(SPEC.valid / np.array(SPEC.cardinalities)[:, None], (rows, 2, 3))
    policy = np.zeros((rows, 2, 3))
    policy[:, 0, 1] = policy[:, 1, 2] = 1
    found = slot_support(policy, behaviour, action, SPEC)
    np.testing.assert_allclose(found.effective_share, [1 / 2, 1 / 3], rtol=0.05)
    assert found.supported.all()
    np.testing.assert_allclose(found.coverage, 1)
    np.testing.assert_allclose(found.disagreement, [1 / 2, 2 / 3])
    np.testing.assert_allclose(found.entropy_bits, 0)
    assert in_words(found, ("route", "dose")) == "supported in every slot"


def test_a_slot_that_chooses_what_the_log_hardly_has_is_named():
    rng, rows = np.random.default_rng(0), 5000
    often = np.array([[0.5, 0.5, 0], [0.98, 0.01, 0.01]])
    action = np.stack([rng.choice(3, rows, p=p) for p in often], -1)
    behaviour = np.broadcast_to(often, (rows, 2, 3))
    policy = np.broadcast_to(np.array([[0.5, 0.5, 0], [0, 0.5, 0.5]]), (rows, 2, 3))
    found = slot_support(policy, behaviour, action, SPEC)
    assert found.supported.tolist() == [True, False]
    assert "slot dose: chooses what the log hardly has; do not trust this value" in in_words(found, ("route", "dose"))
    np.testing.assert_allclose(found.entropy_bits, [1, 1])
    np.testing.assert_allclose(found.coverage, [1, 0])


def test_joint_share_counts_joint_actions_that_occur():
    logged = np.array([[0, 0], [1, 2]])
    assert joint_share(np.array([[0, 0], [1, 2], [1, 1], [0, 2]]), logged, SPEC) == 0.5


def test_the_clone_finds_the_probabilities_of_each_slot():
    log = make_log(episodes=150)
    rng = np.random.default_rng(1)
    first = log.data.observation.argmax(-1) == 0  # in state 0, slot 0 takes choice 1 with probability 0.9, else 0.2
    action = log.data.action.copy()
    action[:, 0] = rng.random(len(action)) < np.where(first, 0.9, 0.2)
    log = log._replace(data=log.data._replace(action=action))
    behaviour = clone_behaviour(log, log, SPEC, identity_normaliser(STATES), None, 500, jax.random.key(0))
    found = np.asarray(behaviour.probabilities(np.eye(STATES, dtype=np.float32)))
    np.testing.assert_allclose(found[:, 0, 1], [0.9, 0.2, 0.2], atol=0.08)
    np.testing.assert_allclose(found[:, 1], 1 / 3, atol=0.08)
    assert found[0, 0, 2] == 0
    entropy = -np.mean(np.where(first, 0.9 * np.log(0.9) + 0.1 * np.log(0.1), 0.2 * np.log(0.2) + 0.8 * np.log(0.8)))
    assert behaviour.nll == pytest.approx(entropy + np.log(3), abs=0.05)


def figures(mean, supported=True):
    return {
        "mean": mean, "low": mean - 1, "high": mean + 1, "joint_share": 0.5, "supported": supported,
        "verdict": "…", "coverage": [0.95, 1.0],
    }  # fmt: skip


def found(**policies):
    return {
        "gamma": 0.9, "measured_on": "held_out", "episodes": 7, "log_return": 10.0, "log_return_error": 0.5,
        "unseen_share": 0.0, "slots": ["route", "dose"],
        "policies": {"behaviour, cloned": figures(10.4), "trained": figures(14.0)} | policies,
    }  # fmt: skip


def test_an_unsupported_policy_is_never_first(tmp_path):
    lines = judgement(found(wild=figures(99.0, supported=False))).splitlines()
    names = [line.split("  ")[1].strip() for line in lines if "…" in line]
    assert names == ["trained", "behaviour, cloned", "wild"]
    assert plot_judgement(found(), tmp_path / "off_policy.png").stat().st_size > 5_000


def test_the_table_says_that_training_has_not_ended():
    line = "  the newest of them is not finished: step 60 of 80"
    assert line in judgement(found() | {"step": 60, "num_steps": 80}).splitlines()
    assert "not finished" not in judgement(found() | {"step": 80, "num_steps": 80})


def test_no_weight_is_said_in_words():
    said = judgement(found(trained=figures(1.0) | {"importance_sampled": None, "effective_episodes": 0.0}))
    assert "by importance sampling" in said
    assert "the policy plays no episode of the log" in said


def test_the_best_of_the_kept_steps_is_one_of_several_of_a_seed():
    def kept(seed, step, mean):
        return figures(mean) | {"seed": seed, "step": step}

    of_each_seed_one = found(trained=kept(0, 80, 2.0), other=kept(1, 60, 1.0))
    assert "best of the kept steps" not in judgement(of_each_seed_one)
    of_each_seed_two = of_each_seed_one["policies"] | {"more": kept(0, 60, 0.5), "most": kept(1, 80, 3.0)}
    assert "best of the kept steps: 80 of seed 1 (" in judgement(found() | {"policies": of_each_seed_two})
    of_one = found(trained=kept(0, 80, 2.0), more=kept(0, 60, 0.5))
    assert "best of the kept steps: 80 (" in judgement(of_one)


def test_corrected_propensities_are_other_settings():
    run = SimpleNamespace(ope=CONFIG, eval=SimpleNamespace(mode="sampled"))
    given = [None, np.full(3, 0.5), np.array([0.5, 0.5, 0.4])]
    found = [settings_of(run, SimpleNamespace(fingerprint="log"), propensity) for propensity in given]
    assert found[0] == {"ope": dataclasses.asdict(CONFIG), "mode": "sampled", "log": "log"}
    assert found[1] != found[2]
    assert found[1] == settings_of(run, SimpleNamespace(fingerprint="log"), given[1].copy())


def test_pictures_are_not_drawn_through_links(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "off_policy.png").symlink_to(tmp_path / "precious")
    plot_judgement(found(), tmp_path / "off_policy.png")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "off_policy.png").read_bytes()[:4] == b"\x89PNG"


def test_a_damaged_judgement_is_named_with_the_way_out(tmp_path):
    path, settings = tmp_path / "uniform.json", {"log": "a"}
    assert _kept(tmp_path, "uniform", settings, lambda: figures(1.0)) == figures(1.0)
    assert _kept(tmp_path, "uniform", settings, pytest.fail) == figures(1.0)
    whole = path.read_text()
    for lie in ("", whole[:40], "[]", whole.replace("mean", "meen"), whole.replace("settings", "sets")):
        path.write_text(lie)
        with pytest.raises(WorkdirError, match=f"{path} is .*Delete it: the policy is then judged anew"):
            _kept(tmp_path, "uniform", settings, pytest.fail)


def test_the_clone_is_checked_against_what_the_log_returned():
    assert "pass this check" in checked(found())
    assert "do not trust them" in checked(found() | {"log_return": 4.0})
    assert "cannot check" in checked(found() | {"unseen_share": 0.5})
