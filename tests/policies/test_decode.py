"""spin_decode: which of the ASM's draws is played."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models.asm import ASM
from spin_jax.models.unmasking import unmask
from spin_jax.policies.decode import DecodeConfig, make_decode

JOINT = np.array(list(itertools.product(range(2), range(3), range(2))))
CONFIG = dict(candidates=5, rounds=2, threshold=0.0, select="argmax", beta=1.0)


@pytest.fixture(scope="module")
def observation():
    return jax.random.normal(jax.random.key(1), (40, 5))


@pytest.fixture(scope="module")
def utilities(spec):
    """[E, B, N, K], with the padding far above everything else, where it would win if it counted."""
    drawn = jax.random.normal(jax.random.key(2), (2, 40, 3, 3))
    return jnp.where(spec.valid[None, None], drawn, 50.0)


@pytest.fixture(scope="module")
def decode(spec, asm_config):
    return lambda **changes: make_decode(spec, asm_config, DecodeConfig(**{**CONFIG, **changes}))


def smaller_q(utilities, actions):
    """[C, B] of actions [C, B, N]: the sum of each critic's utilities, then the smaller critic."""
    u = np.asarray(utilities)
    c, b, n = actions.shape
    q = [[[sum(u[e, j, i, actions[k, j, i]] for i in range(n)) for j in range(b)] for k in range(c)] for e in range(2)]
    return np.min(q, axis=0)


def test_the_draw_with_the_largest_smaller_q_is_played(decode, asm_params, spec, asm_config, observation, utilities):
    key = jax.random.key(3)
    played = np.asarray(decode().choose((), asm_params, observation, utilities, key))
    asm, draw_key = ASM(spec, asm_config), jax.random.split(key)[0]
    draws = np.asarray(unmask(asm, asm_params, observation, draw_key, rounds=2, count=5))
    best = smaller_q(utilities, draws).argmax(0)
    np.testing.assert_array_equal(played, draws[best, np.arange(40)])
    assert len(set(best)) > 1


def test_without_a_key_the_mode_is_among_the_draws(decode, asm_params, observation, utilities):
    """Where the critics like the mode best it is played; elsewhere nothing worse than it is."""
    policy = decode(select="softmax")  # without a key it is the argmax all the same
    mode = policy.mode((), asm_params, observation)
    loved = jnp.broadcast_to(jax.nn.one_hot(mode, 3)[None], (2, 40, 3, 3))
    choose = jax.jit(lambda u, key: policy.choose((), asm_params, observation, u, key))
    np.testing.assert_array_equal(choose(loved, None), mode)
    played = np.asarray(choose(utilities, None))
    gain = smaller_q(utilities, played[None]) - smaller_q(utilities, np.asarray(mode)[None])
    assert (gain >= 0).all()
    assert (gain > 0).any()


def test_one_draw_with_a_key_is_a_sample_and_not_the_mode(decode, asm_params, observation, utilities):
    policy = decode(candidates=1)
    mode = policy.mode((), asm_params, observation)
    choose = jax.jit(lambda key: policy.choose((), asm_params, observation, utilities, key))
    np.testing.assert_array_equal(choose(None), mode)
    assert (choose(jax.random.key(0)) != mode).any()


def test_candidates_have_no_choice_that_is_improbable_given_those_before_it(
    decode, asm_params, spec, asm_config, observation, utilities
):
    """Each choice of what is played against the ASM that sees the earlier rounds; without a threshold some fail."""
    asm, mask, least = ASM(spec, asm_config), spec.num_choices, 0.6

    def worst(threshold):
        policy = decode(rounds=3, threshold=threshold)
        played = np.asarray(policy.choose((), asm_params, observation, utilities, jax.random.key(5)))
        choices, ratio = np.full_like(played, mask), np.inf
        for _ in range(3):
            p = np.where(spec.valid, np.exp(asm.apply({"params": asm_params}, observation, choices)), 0)
            p = p / p.sum(-1, keepdims=True)
            slot, row = np.where(choices == mask, p.max(-1), -1).argmax(-1), np.arange(len(played))
            ratio = min(ratio, (p[row, slot, played[row, slot]] / p[row, slot].max(-1)).min())
            choices[row, slot] = played[row, slot]
        return ratio

    assert worst(least) >= least > worst(0.0)
    policy = decode(threshold=1.0)
    only = policy.choose((), asm_params, observation, utilities, jax.random.key(5))
    np.testing.assert_array_equal(only, policy.mode((), asm_params, observation))


@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_softmax_of_two_draws_has_its_closed_form(decode, asm_params, observation, utilities, beta):
    """P(a) = p(a) sum_b p(b) 2 e^(beta Q(a)) / (e^(beta Q(a)) + e^(beta Q(b))), just p(a) where beta is 0.

    Every joint action's frequency within 4 sigma; 20 000 draws in one state.
    """
    policy, n = decode(candidates=2, select="softmax", beta=beta), 20_000
    state, u = observation[:1], utilities[:, :1]
    p = np.exp(policy.log_prob((), asm_params, jnp.tile(state, (12, 1)), jnp.asarray(JOINT)))
    gain = np.exp(beta * smaller_q(u, JOINT[:, None])[:, 0])
    expected = p * (p[None] * 2 * gain[:, None] / (gain[:, None] + gain[None])).sum(1)
    choose = jax.jit(lambda s, u, key: policy.choose((), asm_params, s, u, key))
    rows = jnp.tile(state, (n, 1)), jnp.broadcast_to(u, (2, n, 3, 3))
    played = np.asarray(choose(*rows, jax.random.key(4)))
    found = (played[:, None] == JOINT[None]).all(-1).mean(0)
    assert (np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / n)).all()
    assert beta == 0 or np.abs(expected - p).max() > 0.02


def test_expectations_and_supports_are_of_what_is_played(decode, asm_params, observation, utilities):
    """With a threshold of 1 only the best choice of each slot, given those before it, is drawn."""
    policy, key = decode(threshold=1.0), jax.random.key(3)
    modes = {tuple(row) for row in np.asarray(policy.choose((), asm_params, observation[:1], utilities[:, :1], key))}
    for seed in range(20):
        key = jax.random.key(seed)
        found, value = policy.best_in_support((), asm_params, observation[:1], utilities[:, :1], 0.3, key)
        modes |= {tuple(row) for row in np.asarray(found)}
        expected = policy.expected_utility((), asm_params, observation[:1], utilities[:, :1], key)
        np.testing.assert_allclose(value, smaller_q(utilities[:, :1], np.asarray(found)[None])[0], rtol=1e-5)
        drawn = [smaller_q(utilities[:, :1], np.array([[mode]]))[0, 0] for mode in modes]
        assert min(drawn) - 1e-5 <= float(expected[0]) <= max(drawn) + 1e-5
    assert len(modes) <= 2  # rounds=2 may begin with either slot


@pytest.mark.parametrize(
    "change", [{"select": "max"}, {"candidates": 0}, {"rounds": 0}, {"threshold": 2.0}, {"beta": -1.0}]
)
def test_settings_out_of_range_are_refused(decode, change):
    with pytest.raises(ValueError, match="spin_decode"):
        decode(**change)
