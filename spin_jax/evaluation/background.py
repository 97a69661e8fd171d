"""Runs evaluations in a thread beside training and reports them in order."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp


class Background:
    """Runs evaluations one after another in a thread; with asynchronous=False, each ends before the call returns.

    evaluate(step, state) -> result. The next call, or drain, calls report(step, clock, result) in the caller's thread,
    where clock is the value of clock() when the state was handed in. At most QUEUED evaluations wait behind the one
    that runs; beyond that, a call waits.
    """

    QUEUED = 2

    def __init__(self, evaluate: Callable, report: Callable, clock: Callable[[], Any], asynchronous: bool):
        self._evaluate, self._report, self._clock = evaluate, report, clock
        self._pool = ThreadPoolExecutor(1, "evaluation") if asynchronous else None
        self._pending: deque[tuple[int, Any, Future]] = deque()  # (step, value of clock(), future result)
        self.waited = 0.0  # seconds that training waited for evaluations

    def __call__(self, step: int, state: Any):
        begin, now = time.monotonic(), self._clock()
        if self._pool is None:
            self._report(step, now, self._evaluate(step, state))
        else:
            self._deliver(self.QUEUED)
            snapshot = jax.tree.map(jnp.copy, state)  # the next chunk reuses the state's own memory
            self._pending.append((step, now, self._pool.submit(self._evaluate, step, snapshot)))
        self.waited += time.monotonic() - begin

    def drain(self, before: int | None = None) -> None:
        """Waits for all evaluations, or only for those of steps below `before`; raises what an evaluation raised."""
        begin = time.monotonic()
        later = sum(before is not None and step >= before for step, *_ in self._pending)
        self._deliver(later)
        self.waited += time.monotonic() - begin

    def _deliver(self, leave: int):
        while len(self._pending) > leave or (self._pending and self._pending[0][2].done()):
            step, then, future = self._pending.popleft()
            self._report(step, then, future.result())

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.drain()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
