"""Sizes beyond memory are refused with both sizes, before anything is allocated or compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.errors import ConfigError
from spin_jax.learners.base import state_like
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.training import fits
from spin_jax.training.fits import check_update_fits
from spin_jax.types import ActionSpec

SPEC = ActionSpec((3,) * 6)
BLANK = np.zeros((1, 17), np.float32)


def learner(width=32):
    return make_bc(make_factored(SPEC, None, FactoredConfig(width, 0.0)), SPEC, BCConfig(1e-3))


@pytest.fixture(autouse=True)
def free(monkeypatch):
    monkeypatch.setattr(fits, "free_memory", lambda: {"host": 10**10})


def check(made, batch_size=256, **options):
    check_update_fits("policy", made, state_like(made, (), BLANK), (), (17, 6), batch_size, **options)


def test_ordinary_sizes_fit_and_are_not_traced(monkeypatch):
    monkeypatch.setattr(fits, "_traced", None)
    check(learner())


def test_a_state_that_is_too_large_is_refused():
    """Of width W: W² + 36 W parameters and more, and twice as many of Adam: 12.9 GB for 2^15."""
    with pytest.raises(ConfigError, match=r"policy: the state takes 12\.9 GB .* but 10\.0 GB are free"):
        check(learner(2**15))


def test_a_batch_that_is_too_large_is_refused():
    """The hidden layer [2^24, 256] in float32 has 17.2 GB."""
    with pytest.raises(ConfigError, match=r"array of an update of batch 16777216 takes 17\.2 GB, but 10\.0 GB"):
        check(learner(256), 2**24)
    check(learner(256), 2**22)


def test_seeds_that_are_trained_at_once_add_up():
    with pytest.raises(ConfigError, match=r"takes 17\.2 GB"):
        check(learner(256), 2**22, seeds=4, at_once=4)
    check(learner(256), 2**22, seeds=4, at_once=2)


def test_the_states_of_seeds_that_wait_add_up():
    """A state of width 2^14 has 3.2 GB; one at a time is trained, four are held."""
    check(learner(2**14), seeds=3)
    with pytest.raises(ConfigError, match=r"the state takes 12\.9 GB"):
        check(learner(2**14), seeds=4)


def test_the_noise_of_a_policy_counts():
    """A policy that draws many candidates takes 10^6 numbers a state: 16 GB for 4000 states."""
    with pytest.raises(ConfigError, match=r"takes 16\.0 GB"):
        check(learner()._replace(greedy_noise=np.zeros(10**6, np.float32)), 4000)


def test_arrays_of_inner_functions_and_loops_are_seen():
    """[2^22, 1024] exists only inside of a loop inside of a compiled function: 17.2 GB."""

    def update(state, frozen, batch, key):
        @jax.jit
        def inner(reward):
            step = lambda i, x: x + (jnp.ones(1024)[None, :] * reward[:, None]).sum()  # noqa: E731
            return jax.lax.fori_loop(0, 3, step, 0.0)

        return inner(batch.reward)

    with pytest.raises(ConfigError, match=r"takes 17\.2 GB"):
        check(learner()._replace(update=update), 2**22)


def test_a_policy_that_reads_encodings_gets_them():
    """x is z(s), [B, 1000], made of the observation."""
    seen = []
    made = learner()._replace(update=lambda state, frozen, batch, key: seen.append(batch.x.shape) or batch.x)
    check(made, 2**20, encode=lambda frozen, observation: jnp.zeros((observation.shape[0], 1000)))
    assert seen == [(2**20, 1000)]


def test_an_accelerator_needs_the_room_and_the_host_does_not(monkeypatch):
    monkeypatch.setattr(fits, "free_memory", lambda: {"host": 1, "accelerator": 10**10})
    check(learner())
    monkeypatch.setattr(fits, "free_memory", lambda: {"host": 10**11, "accelerator": 10**10})
    with pytest.raises(ConfigError, match=r"12\.9 GB .* but 10\.0 GB are free"):
        check(learner(2**15))
