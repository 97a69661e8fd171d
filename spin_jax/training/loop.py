"""The training loop of both stages: compiled chunks of gradient steps, with hooks between chunks."""

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
from spin_jax.record.processes import NAMES, Preempted, asked_to_stop, stoppable
from spin_jax.record.progress import Progress, log
from spin_jax.training.keys import step_keys
from spin_jax.training.mesh import ONE_DEVICE, Layout
from spin_jax.training.seeds import ONE, Seeds


class Hook(NamedTuple):
    """A function call(step, state) that runs every `every_steps` steps and after the last step."""

    every_steps: int
    call: Callable[[int, Any], None]


def chunk_length(limit: int, *intervals: int) -> int:
    """The most steps, up to `limit`, that divide every interval, so that one program serves the whole run."""
    common = math.gcd(*intervals)
    return max(c for c in range(1, min(limit, common) + 1) if common % c == 0)


def epoch_length(steps: int, limit: int) -> int:
    """`steps`, or the first number up to 1 % above it that falls into longer chunks of at most `limit` steps.

    1 000 000 transitions in batches of 256 are 3907 steps, a prime number, whose chunks are of one step; the 3908 that
    take its place make chunks of 977. A number whose chunks have half of `limit` or more stays as it is.
    """
    best, longest = steps, 0
    for n in range(steps, steps + steps // 100 + 1):
        length = chunk_length(limit, n)
        if length > longest:
            best, longest = n, length
        if longest >= min(steps, limit // 2):
            break
    return best


def chunk_limit(data: Any, batch_size: int, max_chunk: int) -> int:
    """The most steps of a chunk: max_chunk, or the batches that a stream hands over at once if those are fewer."""
    return min(max_chunk, data.max_chunk(batch_size)) if isinstance(data, TransitionStream) else max_chunk


def make_run_chunk(
    learner: Learner,
    batch_size: int,
    chunk: int,
    streamed: bool = False,
    seeds: Seeds = ONE,
    layout: Layout = ONE_DEVICE,
) -> jax.stages.Wrapped:
    """run(state, frozen, data, key, start) -> (state, metrics averaged over the chunk); the state is donated.

    data: what batches are drawn from, arrays [T, …] or ShardedRows; if `streamed`, the batches themselves,
    [chunk, B, …]. All arrays lie as `layout` puts them.
    """

    def run_one(state, frozen, key, data, start):
        def one_step(state, step_and_batch):
            step, batch = step_and_batch
            batch_key, update_key = step_keys(key, step)
            if not streamed:
                batch = layout.over_data(sample_batch(batch_key, data, batch_size))
            # the loop's own step, which no seed axis makes a vector: a lax.cond on it stays one where seeds are a batch
            return learner.update(state._replace(step=step), frozen, batch, update_key)

        steps = start + jnp.arange(chunk)
        state, metrics = jax.lax.scan(one_step, state, (steps, data if streamed else None))
        return state, jax.tree.map(lambda m: m.mean(0), metrics)

    placed = {}
    if layout.mesh is not None:
        placed["out_shardings"] = layout.sharding(*seeds.axes)

    @functools.partial(jax.jit, donate_argnums=0, **placed)
    def run_chunk(state, frozen, data, key, start):
        run = functools.partial(run_one, data=data, start=start)
        return seeds.map(run, state, frozen, key, layout.groups)

    return run_chunk


class _Metrics:
    """The last chunk's metrics, fetched and checked only after the next chunk has started."""

    def __init__(
        self, what: str, chunk: int, on_metrics: Callable, progress: Progress, show: Sequence[str], layout: Layout
    ):
        self._what, self._chunk, self._on_metrics, self._layout = what, chunk, on_metrics, layout
        self._progress, self._show = progress, show
        self._pending: tuple[int, dict] | None = None

    def hold(self, step: int, metrics: dict) -> None:
        """Takes the metrics of the chunk that ends at `step`; they may still be being computed."""
        self._pending = step, metrics

    def report(self) -> None:
        """Hands the held metrics to on_metrics; raises DivergedError if one of them is not finite."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        metrics = {name: np.atleast_1d(value) for name, value in jax.device_get(self._layout.host(metrics)).items()}
        bad = [name for name, value in metrics.items() if not np.isfinite(value).all()]
        if bad:
            raise DivergedError(
                f"{self._what}: {', '.join(bad)} became NaN or infinite between steps {step - self._chunk} and {step}. "
                f"Lower the learning rate or look at the data; the last checkpoint is from before."
            )
        self._on_metrics(step, metrics)
        self._progress.update(step, **{name: metrics[name].mean() for name in self._show if name in metrics})


def _warn_if_short(chunk: int, longest: int, what: str, num_steps: int, hooks: Sequence[Hook]) -> None:
    """Warns of chunks that are far shorter than `longest`, which they might be."""
    if chunk * 20 < longest:
        every = " and ".join(map(str, sorted({hook.every_steps for hook in hooks})))
        log.warning(
            f"{what}: programs of so few steps make an accelerator wait. Longer ones must divide {num_steps} steps and "
            f"what happens every {every} of them: choose numbers with a common divisor."
        )


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
    layout: Layout = ONE_DEVICE,
    on_metrics: Callable[[int, dict], None] = lambda step, metrics: None,
    hooks: Sequence[Hook] = (),
    on_stop: Callable[[int, Any], None] | None = None,
    what: str = "training",
    show: Sequence[str] = (),
) -> Any:
    """Runs the gradient steps from start_step to num_steps and returns the final state.

    data: a tree of arrays [T, …] on the devices, or ShardedRows, from which every step draws its batch; or a
    TransitionStream, from which step i gets batch i (the next chunk of batches is transferred while one runs).
    on_metrics(step, metrics) gets the means of every chunk, each an array [seeds]; they are fetched after the next
    chunk has started. `show` names the metrics that the progress bar shows, as means over seeds. Raises DivergedError,
    naming the steps, if a metric is not finite; no hook sees that state. After SIGTERM or Ctrl-C the running chunk
    ends, on_stop(step, state), which saves the state, is called, and Preempted is raised. Without it nothing is saved.
    """
    streamed = isinstance(data, TransitionStream)
    limit = chunk_limit(data, batch_size, max_chunk)
    chunk = chunk_length(limit, num_steps, start_step, *(hook.every_steps for hook in hooks))
    run_chunk = make_run_chunk(learner, batch_size, chunk, streamed, seeds, layout)
    feed = itertools.repeat(data)
    if streamed:
        feed = data.device_chunks(key, layout.put_batches, batch_size, chunk, start_step, num_steps)
    each = f" of each of {seeds.num} seeds, {seeds.at_once} at once," if seeds.num > 1 else ""
    log.info(f"{what}: compiling {chunk} gradient steps of batch {batch_size}{each} into one program …")
    _warn_if_short(chunk, min(limit, num_steps - start_step), what, num_steps, hooks)
    with Progress(what, num_steps, start_step) as progress, stoppable():
        metrics = _Metrics(what, chunk, on_metrics, progress, show, layout)
        for step, given in zip(range(start_step + chunk, num_steps + 1, chunk), feed, strict=False):
            state, found = run_chunk(state, frozen, given, key, step - chunk)
            metrics.report()
            metrics.hold(step, found)
            due = [hook for hook in hooks if step % hook.every_steps == 0 or step == num_steps]
            if due:
                metrics.report()
            for hook in due:
                hook.call(step, state)
            stopped_by = asked_to_stop()
            if stopped_by is not None:
                metrics.report()
                left = f"stopped at step {step} of {num_steps}, which is not kept. The same command begins this anew."
                if on_stop is not None:
                    on_stop(step, state)
                    left = f"saved step {step} of {num_steps}. The same command goes on there."
                raise Preempted(f"{what}: {NAMES[stopped_by]}; {left}", stopped_by)
        metrics.report()
    return state
