"""The one training loop of both stages: compiled chunks of gradient steps, hooks at their boundaries."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.data.sampler import sample_batch
from spin_jax.data.stream import TransitionStream
from spin_jax.errors import DivergedError
from spin_jax.learners.base import Learner
from spin_jax.record.progress import Progress, log
from spin_jax.training.seeds import ONE, Seeds


class Hook(NamedTuple):
    """call(step, state) after every `every_steps` steps and after the last one."""

    every_steps: int
    call: Callable[[int, Any], None]


def chunk_length(limit: int, *intervals: int) -> int:
    """The longest chunk up to `limit` that divides every interval, so that one program serves the whole run."""
    common = math.gcd(*intervals)
    return max(c for c in range(1, min(limit, common) + 1) if common % c == 0)


def make_run_chunk(
    learner: Learner, batch_size: int, chunk: int, streamed: bool = False, seeds: Seeds = ONE
) -> Callable:
    """run(state, frozen, data, key, start) -> (state, metrics averaged over the chunk); the state is donated.

    data: arrays [T, …] that batches are drawn from; where `streamed`, the batches themselves, [chunk, B, …].
    """

    def run_one(state, frozen, key, data, start):
        def one_step(state, step_and_batch):
            step, batch = step_and_batch
            # everything random in a step follows from (key, step): a resumed run repeats it exactly
            batch_key, update_key = jax.random.split(jax.random.fold_in(key, step))
            if not streamed:
                batch = sample_batch(batch_key, data, batch_size)
            return learner.update(state, frozen, batch, update_key)

        steps = start + jnp.arange(chunk)
        state, metrics = jax.lax.scan(one_step, state, (steps, data if streamed else None))
        return state, jax.tree.map(lambda m: m.mean(0), metrics)

    @functools.partial(jax.jit, donate_argnums=0)
    def run_chunk(state, frozen, data, key, start):
        return seeds.map(functools.partial(run_one, data=data, start=start), state, frozen, key)

    return run_chunk


def fit(
    learner: Learner,
    state: Any,
    frozen: Any,
    data: Any,
    key: jax.Array,
    *,
    num_steps: int,
    batch_size: int,
    max_chunk: int,
    start_step: int = 0,
    seeds: Seeds = ONE,
    on_metrics: Callable[[int, dict], None] = lambda step, metrics: None,
    hooks: Sequence[Hook] = (),
    what: str = "training",
    show: Sequence[str] = (),
) -> Any:
    """Run gradient steps start_step … num_steps and return the final state.

    data: a tree of arrays [T, …] on the device, from which every step draws its batch, or a TransitionStream, whose
    batch number `step` it gets (the next chunk of them is transferred while one runs). on_metrics(step, metrics) gets
    every chunk's means, an array [seeds] each (fetched after the next chunk was started); `show` names those whose mean
    over seeds goes beside the bar. Raises DivergedError, naming the steps, where a metric is not finite: before
    any hook sees that state.
    """
    streamed = isinstance(data, TransitionStream)
    limit = min(max_chunk, data.max_chunk(batch_size)) if streamed else max_chunk
    chunk = chunk_length(limit, num_steps, start_step, *(hook.every_steps for hook in hooks))
    run_chunk = make_run_chunk(learner, batch_size, chunk, streamed, seeds)
    feed = itertools.repeat(data)
    if streamed:
        feed = data.device_chunks(key, batch_size, chunk, start_step, num_steps)
    pending = None

    def report():
        nonlocal pending
        if pending is None:
            return
        (step, metrics), pending = pending, None
        metrics = {name: np.atleast_1d(value) for name, value in jax.device_get(metrics).items()}
        bad = [name for name, value in metrics.items() if not np.isfinite(value).all()]
        if bad:
            raise DivergedError(
                f"{what}: {', '.join(bad)} became NaN or infinite between steps {step - chunk} and {step}. "
                f"Lower the learning rate or look at the data; the last checkpoint is from before."
            )
        on_metrics(step, metrics)
        progress.update(step, **{name: metrics[name].mean() for name in show if name in metrics})

    each = f" of each of {seeds.num} seeds, {seeds.at_once} at once," if seeds.num > 1 else ""
    log.info(f"{what}: compiling {chunk} gradient steps of batch {batch_size}{each} into one program …")
    with Progress(what, num_steps, start_step) as progress:
        for step, given in zip(range(start_step + chunk, num_steps + 1, chunk), feed, strict=False):
            state, metrics = run_chunk(state, frozen, given, key, step - chunk)
            report()
            pending = (step, metrics)
            due = [hook for hook in hooks if step % hook.every_steps == 0 or step == num_steps]
            if due:
                report()
            for hook in due:
                hook.call(step, state)
        report()
    return state
