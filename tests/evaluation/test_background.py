"""Evaluations beside training: in order, at their own steps, never more than a few waiting, and no error is lost."""

import threading

import jax.numpy as jnp
import pytest

from spin_jax.evaluation.background import Background


class Evaluation:
    """An evaluation that waits until it is let go; it returns the state's value."""

    def __init__(self):
        self.go, self.begun = threading.Semaphore(0), []

    def __call__(self, step, state):
        self.begun.append(step)
        if not self.go.acquire(timeout=20):
            raise TimeoutError
        return float(state)


def started(evaluation, asynchronous=True):
    reports, clock = [], iter(range(100))
    return reports, Background(evaluation, lambda *row: reports.append(row), lambda: next(clock), asynchronous)


def test_training_goes_on_and_results_come_in_order_with_their_steps():
    reports, background = started(evaluation := Evaluation())
    with background:
        state = jnp.float32(1)
        background(10, state)
        state.delete()  # what donation does to it
        background(20, jnp.float32(2))
        assert reports == []
        for _ in range(2):
            evaluation.go.release()
        background.drain()
        assert reports == [(10, 0, 1.0), (20, 1, 2.0)]  # step, seconds when it was handed in, result
    assert evaluation.begun == [10, 20]


def test_where_too_many_wait_the_caller_waits_too():
    reports, background = started(evaluation := Evaluation())
    with background:
        for step in range(3):
            background(step, jnp.float32(step))
        caller = threading.Thread(target=background, args=(3, jnp.float32(3)))
        caller.start()
        caller.join(0.5)
        assert caller.is_alive()  # one runs, two wait: no room
        evaluation.go.release()
        caller.join(20)
        assert not caller.is_alive()
        assert [row[0] for row in reports] == [0]
        assert background.waited > 0.4
        for _ in range(3):
            evaluation.go.release()
    assert [row[0] for row in reports] == [0, 1, 2, 3]  # leaving drains


def test_draining_up_to_a_step_leaves_that_steps_own():
    reports, background = started(evaluation := Evaluation())
    with background:
        background(10, jnp.float32(1))
        background(20, jnp.float32(2))
        evaluation.go.release()
        background.drain(before=20)
        assert [row[0] for row in reports] == [10]
        evaluation.go.release()


def test_an_error_of_an_evaluation_reaches_the_caller():
    def broken(step, state):
        raise RuntimeError(f"no environment at step {step}")

    for asynchronous in (False, True):
        _, background = started(broken, asynchronous)
        with pytest.raises(RuntimeError, match="no environment at step 7"), background:
            background(7, jnp.float32(0))


def test_inline_is_done_when_the_call_returns():
    reports, background = started(evaluation := Evaluation(), asynchronous=False)
    evaluation.go.release()
    background(5, jnp.float32(4))
    assert reports == [(5, 0, 4.0)]
