"""Shared by all benchmarks: the update steps of a configuration as compiled programs, and interleaved timing."""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.config.sections import RunConfig
from spin_jax.envs.tasks import TASKS
from spin_jax.from_config import make_learner, make_policy
from spin_jax.learners.base import Learner, compiled_init
from spin_jax.record.files import write_json
from spin_jax.record.machine import facts
from spin_jax.run import get_config
from spin_jax.stages.estimate import random_frozen, random_log
from spin_jax.stages.members import seeds_of
from spin_jax.training.loop import make_run_chunk
from spin_jax.training.mesh import make_layout
from spin_jax.types import ActionSpec, Transition

ROOT = pathlib.Path(__file__).parent.parent


def run_main(arguments: Sequence[str]) -> None:
    """Runs main.py in a process of its own that finds nothing compiled; raises CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        subprocess.run([sys.executable, "main.py", *arguments], cwd=ROOT, check=True, env=environment)


def settings(task: str, preset: str = "paper", **changes: Any) -> RunConfig:
    """The checked configuration of a task; changes: section__field=value, such as train__batch_size=64."""
    config = get_config(f"{task}:{preset}")
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return build(resolve(config))


class Program(NamedTuple):
    """The update steps of a learner as a compiled program.

    start() returns a state and chunk(state) the state after the next steps; neither waits for the result. compile()
    returns XLA's compiled program of a chunk; the first call of compile or chunk compiles it.
    """

    run: RunConfig
    learner: Learner
    spec: ActionSpec
    frozen: Any
    data: Transition
    start: Callable[[], Any]
    chunk: Callable[[Any], Any]
    compile: Callable[[], Any]


def make_program(
    run: RunConfig, steps: int, rows: int = 4096, spec: ActionSpec | None = None, num_features: int | None = None
) -> Program:
    """A Program that takes `steps` updates per call, with batches from a random log of `rows` transitions.

    It trains run.num_seeds seeds at once, which share the frozen arrays, on the configured mesh of all devices.
    """
    task = TASKS[run.task]
    spec, num_features = spec or task.spec(run.bins), num_features or task.num_features
    policy = make_policy(run, spec)
    learner = make_learner(run, policy, spec)
    frozen = jax.block_until_ready(random_frozen(run, spec, num_features))
    data = random_log(spec, num_features, rows, policy, frozen)
    seeds, blank, init = seeds_of(run), data.observation[:1], compiled_init(learner)
    layout = make_layout(run.num_seeds, run.train.batch_size, run.mesh.seed, run.mesh.data)
    run_chunk = make_run_chunk(learner, run.train.batch_size, steps, seeds=seeds, layout=layout)
    key = layout.put(seeds.bundle([jax.random.key(seed) for seed in range(run.num_seeds)]), *seeds.axes)
    local = frozen
    frozen, data = layout.put(frozen), layout.put(data)

    def start():
        states = [init(jax.random.key(seed), local, blank) for seed in range(run.num_seeds)]
        return layout.put(seeds.bundle(states), *seeds.axes)

    @functools.cache
    def compile_chunk():
        return run_chunk.lower(start(), frozen, data, key, 0).compile()

    def chunk(state):
        return compile_chunk()(state, frozen, data, key, 0)[0]

    return Program(run, learner, spec, frozen, data, start, chunk, compile_chunk)


def interleave(measures: Mapping[Any, Callable[[], Any]], rounds: int, warm_up: int = 1) -> dict[Any, list[float]]:
    """Seconds of each call, measured in turn, so that a slow minute of a shared machine hits all measures alike."""
    seconds: dict[Any, list[float]] = {name: [] for name in measures}
    for number in range(warm_up + rounds):
        for name, measure in measures.items():
            begin = time.perf_counter()
            measure()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def ticking(program: Program) -> Callable[[], None]:
    """A function that runs the next chunk at each call and waits for it."""
    state = [program.start()]

    def tick():
        state[0] = jax.block_until_ready(program.chunk(state[0]))

    return tick


def spread(values: Any, digits: int = 2) -> dict[str, float]:
    """{median, min, max}."""
    found = {"median": np.median(values), "min": np.min(values), "max": np.max(values)}
    return {name: round(float(value), digits) for name, value in found.items()}


def milliseconds(seconds: list[float], steps: int) -> dict[str, float]:
    """{ms_median, ms_min, ms_max} of one step; seconds: measurements of `steps` steps each."""
    return {f"ms_{name}": value for name, value in spread(1e3 * np.asarray(seconds) / steps, 4).items()}


def write(path: str, **results) -> None:
    """Writes the results and the machine's facts as JSON; writes nothing if `path` is empty."""
    if path:
        write_json(pathlib.Path(path), facts() | results)
