"""The loop: chunks change nothing, resuming changes nothing, hooks and errors come when they should."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax import loop
from spin_jax.checkpoint import CheckpointStore
from spin_jax.learners.base import Learner
from spin_jax.loop import Hook, chunk_length, fit

KEY = jax.random.key(5)
DATA = {"x": np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)}


class State(NamedTuple):
    position: jax.Array
    step: jax.Array


def init(key=None, frozen=()):
    return State(jnp.ones(3), jnp.zeros((), jnp.int32))


def update(state, frozen, batch, key):
    """A noisy step towards the batch's mean, so that every batch, every key and every order shows."""
    pull = batch["x"].mean(0) - state.position + frozen * jax.random.normal(key, (3,))
    new = state._replace(position=state.position + 0.1 * pull * (1 + state.step), step=state.step + 1)
    return new, {"pull": (pull**2).sum(), "step": new.step.astype(jnp.float32)}


LEARNER = Learner(init, update, act=None)


def run(num_steps, max_chunk, state=None, learner=LEARNER, **rest):
    settings = dict(num_steps=num_steps, batch_size=4, max_chunk=max_chunk, **rest)
    return fit(learner, init() if state is None else state, jnp.float32(0.1), DATA, KEY, **settings)


def test_a_chunk_of_ten_equals_ten_single_steps():
    state = init()
    for step in range(10):  # the rule: all that is random in a step follows from (key, step)
        batch_key, update_key = jax.random.split(jax.random.fold_in(KEY, step))
        rows = jax.random.randint(batch_key, (4,), 0, 50)
        state, _ = update(state, jnp.float32(0.1), {"x": DATA["x"][np.asarray(rows)]}, update_key)
    for max_chunk in (10, 5, 1):
        found = run(10, max_chunk)
        np.testing.assert_allclose(found.position, state.position, rtol=1e-6)
        assert int(found.step) == 10


def test_ten_and_ten_resumed_steps_equal_twenty_bit_for_bit(tmp_path):
    whole = run(20, 5)
    store = CheckpointStore(tmp_path)
    store.save(10, run(10, 5), {})
    resumed = run(20, 5, CheckpointStore(tmp_path).restore(init()), start_step=10)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    assert not np.array_equal(run(10, 5).position, whole.position)


def test_hooks_are_called_at_their_steps_and_after_the_last():
    calls = []
    hooks = [
        Hook(4, lambda step, state: calls.append(("four", step, int(state.step)))),
        Hook(6, lambda step, state: calls.append(("six", step, int(state.step)))),
    ]
    run(10, 100, hooks=hooks)
    assert calls == [(n, s, s) for n, s in (("four", 4), ("six", 6), ("four", 8), ("four", 10), ("six", 10))]


def test_metrics_are_the_chunks_means_in_order_and_before_the_hook():
    seen = []
    run(
        12,
        3,
        on_metrics=lambda step, metrics: seen.append((step, metrics["step"])),
        hooks=[Hook(6, lambda step, state: seen.append(("hook", step)))],
    )
    assert seen == [(3, 2.0), (6, 5.0), ("hook", 6), (9, 8.0), (12, 11.0), ("hook", 12)]


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_metric_that_is_not_finite_stops_the_run_before_a_hook_sees_the_state(bad):
    def break_at_7(state, frozen, batch, key):
        state, metrics = update(state, frozen, batch, key)
        return state, {**metrics, "pull": jnp.where(state.step == 7, bad, metrics["pull"])}

    calls = []
    hooks = [Hook(2, lambda step, state: calls.append(step))]
    with pytest.raises(FloatingPointError, match="test: pull became NaN or infinite between steps 6 and 8"):
        run(20, 2, learner=LEARNER._replace(update=break_at_7), hooks=hooks, what="test")
    assert calls == [2, 4, 6]


@pytest.mark.parametrize(
    ("limit", "intervals", "chunk"),
    [
        (1000, (1_000_000, 0, 5_000, 10_000), 1000),
        (1000, (30_000, 0, 5_000), 1000),
        (1000, (80, 0, 40, 20), 20),
        (7, (12, 18), 6),
        (5, (12, 18), 3),
        (100, (7, 10), 1),
        (4, (20, 10), 2),
    ],
)
def test_chunk_length_is_the_longest_that_divides_every_interval(limit, intervals, chunk):
    assert chunk_length(limit, *intervals) == chunk


def test_one_program_serves_the_whole_run(monkeypatch):
    programs, traced = [], []

    def counting(state, frozen, batch, key):
        traced.append(batch["x"].shape)
        return update(state, frozen, batch, key)

    def remember(*args, make=loop.make_run_chunk):
        programs.append(make(*args))
        return programs[-1]

    monkeypatch.setattr(loop, "make_run_chunk", remember)
    run(2, 2, learner=LEARNER._replace(update=counting))
    once = len(traced)
    run(20, 2, learner=LEARNER._replace(update=counting))
    assert len(traced) == 2 * once
    assert [program._cache_size() for program in programs] == [1, 1]


def test_a_run_that_is_already_done_does_nothing():
    state = run(10, 5)
    before = np.array(state.position)
    after = run(10, 5, state, start_step=10, hooks=[Hook(5, lambda *_: pytest.fail("called"))])
    np.testing.assert_array_equal(after.position, before)
