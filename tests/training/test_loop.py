"""The loop: chunks change nothing, resuming changes nothing, hooks and errors come when they should."""

import functools
import logging
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.data.stream import TransitionStream
from spin_jax.learners.asm import ASMOptimiserConfig, make_asm_learner
from spin_jax.learners.base import Learner, compiled_init
from spin_jax.objectives.masked_modelling import MaskingConfig
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.processes import Preempted
from spin_jax.training import loop
from spin_jax.training.loop import Hook, chunk_length, epoch_length, fit
from spin_jax.types import Episode, Normaliser

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


@pytest.mark.parametrize(
    ("steps", "limit", "length"),
    [
        (782, 1000, 782),
        (1400, 1000, 1400),  # two chunks of 700
        (1009, 1000, 1010),  # a prime number
        (3907, 1000, 3908),  # one, too: 1 000 000 transitions in batches of 256
        (2002, 1000, 2004),  # 7 chunks of 286, or 3 of 668
        (40, 1, 40),
        (101, 10, 102),  # one per cent is all there is: 10 does not divide 102
        (7, 4, 7),
    ],
)
def test_an_epoch_is_lengthened_only_for_longer_chunks(steps, limit, length):
    assert epoch_length(steps, limit) == length


def test_many_steps_in_short_chunks_are_warned_of(caplog):
    caplog.set_level(logging.INFO, logger="spin_jax")
    run(40, 100, hooks=[Hook(20, lambda step, state: None)])
    assert "compiling 20 gradient steps" in caplog.text
    assert "wait" not in caplog.text
    run(40, 100, hooks=[Hook(7, lambda step, state: None), Hook(20, lambda step, state: None)])
    assert "compiling 1 gradient steps" in caplog.text
    assert "must divide 40 steps and what happens every 7 and 20 of them" in caplog.text


@pytest.mark.parametrize("stopped", [4, 10])
def test_sigterm_ends_the_chunk_saves_and_stops_also_in_the_last_one(stopped):
    calls, before = [], signal.getsignal(signal.SIGTERM)

    def send(step, state):
        if step == stopped:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Preempted, match=f"saved step {stopped} of 10"):
        run(10, 2, hooks=[Hook(2, send)], on_stop=lambda step, state: calls.append((step, int(state.step))))
    assert calls == [(stopped, stopped)]
    assert signal.getsignal(signal.SIGTERM) == before
    assert int(run(10, 2).step) == 10  # the signal is forgotten


def test_what_nobody_saves_is_not_said_to_be_saved():
    with pytest.raises(Preempted, match="stopped at step 4 of 10, which is not kept"):
        run(10, 2, hooks=[Hook(4, lambda *_: signal.raise_signal(signal.SIGTERM))])


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


def make_stream(num_features=3, cardinalities=(2, 3, 2)):
    """Nine episodes of seven transitions in blocks of four: seven batches of four a block, 2.25 blocks an epoch."""
    rng = np.random.default_rng(1)
    episodes = [
        Episode(
            rng.normal(size=(8, num_features)).astype(np.float32),
            rng.integers(0, cardinalities, (7, len(cardinalities))).astype(np.int32),
            rng.normal(size=7).astype(np.float32),
            False,
        )
        for _ in range(9)
    ]
    normaliser = Normaliser(np.full(num_features, 0.1, np.float32), np.full(num_features, 2, np.float32), np.float32(9))
    return TransitionStream(episodes, np.arange(9), np.full(9, 7), 4, normaliser)


def observed_update(state, frozen, batch, key):
    return update(state, frozen, {"x": batch.observation}, key)


OBSERVED = Learner(init, observed_update, act=None)


def run_stream(num_steps, max_chunk, state=None, learner=OBSERVED, **rest):
    settings = dict(num_steps=num_steps, batch_size=4, max_chunk=max_chunk, **rest)
    return fit(learner, init() if state is None else state, jnp.float32(0.1), make_stream(), KEY, **settings)


def test_a_step_on_a_stream_gets_the_batch_of_its_number_and_the_update_key_of_memory_mode():
    (batches,) = make_stream().chunks(int(jax.random.bits(KEY)), 4, 20, 0, 20)
    state = init()
    for step in range(20):
        _, update_key = jax.random.split(jax.random.fold_in(KEY, step))
        state, _ = update(state, jnp.float32(0.1), {"x": batches.observation[step]}, update_key)
    for max_chunk in (20, 5, 1):
        found = run_stream(20, max_chunk)
        np.testing.assert_allclose(found.position, state.position, rtol=1e-5)
        assert int(found.step) == 20


@pytest.mark.parametrize("cut", [5, 10, 15])
def test_an_interrupted_stream_goes_on_bit_for_bit_in_the_middle_of_an_epoch(tmp_path, cut):
    """A block has 7 batches and an epoch 15.75: no cut is at the border of either."""
    whole = run_stream(20, 5)
    CheckpointStore(tmp_path).save(cut, run_stream(cut, 5), {})
    resumed = run_stream(20, 5, CheckpointStore(tmp_path).restore(init()), start_step=cut)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)


def test_the_asm_on_a_stream_ten_and_ten_resumed_steps_equal_twenty_bit_for_bit(
    tmp_path, monkeypatch, spec, asm_config
):
    monkeypatch.setattr(loop, "make_run_chunk", functools.cache(loop.make_run_chunk))  # compiled once for all three
    masking, optimiser = MaskingConfig("fixed", 0.5, 0.3, 0.8, 0.1), ASMOptimiserConfig(1e-2, 1.0)
    learner = make_asm_learner(spec, asm_config, masking, optimiser)
    first = jax.device_get(compiled_init(learner)(jax.random.key(0), (), jnp.zeros((1, 3))))

    def run_asm(num_steps, state, start_step=0):
        settings = dict(num_steps=num_steps, batch_size=4, max_chunk=5, start_step=start_step)
        return fit(learner, state, (), make_stream(cardinalities=spec.cardinalities), KEY, **settings)

    whole = run_asm(20, first)
    CheckpointStore(tmp_path).save(10, run_asm(10, first), {})
    resumed = run_asm(20, CheckpointStore(tmp_path).restore(first), 10)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    assert int(whole.step) == 20
    assert not np.array_equal(first.params["table"], whole.params["table"])


def test_one_program_serves_a_whole_stream(monkeypatch):
    programs = []

    def remember(*args, make=loop.make_run_chunk):
        programs.append(make(*args))
        return programs[-1]

    monkeypatch.setattr(loop, "make_run_chunk", remember)
    run_stream(20, 2)
    assert [program._cache_size() for program in programs] == [1]


def test_the_chunk_of_a_stream_is_limited_by_its_bytes(monkeypatch):
    seen = []
    monkeypatch.setattr(TransitionStream, "max_chunk", lambda self, batch_size: {4: 3}[batch_size])
    run_stream(12, 100, on_metrics=lambda step, metrics: seen.append(step))
    assert seen == [3, 6, 9, 12]


def test_a_stream_that_is_already_done_is_not_read(monkeypatch):
    state = run_stream(10, 5)
    monkeypatch.setattr(TransitionStream, "chunks", lambda *_: pytest.fail("read"))
    assert int(run_stream(10, 5, state, start_step=10).step) == 10
