"""Measures the cost of an update step: `python -m benchmarks.step_time --tasks=dog_trot --learners=iql --json=FILE`.

Times every policy with every learner at the tasks' shapes and the published sizes; all measurements of a task are
interleaved. peak_share: the step's operations per second (XLA's count) over those of a matrix product in the same
rounds.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks.flops import hand_gflop
from benchmarks.measure import Program, interleave, make_program, milliseconds, settings, ticking, write
from spin_jax import command
from spin_jax.config.sections import RunConfig
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.record.progress import log, setup_logging
from spin_jax.registry import LEARNERS, POLICIES
from spin_jax.training.operations import xla_gflop


def matmul(size: int, dtype: str) -> tuple[Callable[[], Any], float]:
    """(tick, gflop) of a square matrix product; dtype: the precision of the policies' Transformer products."""
    a = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(a, a)), 2 * size**3 / 1e9


def compile_program(run: RunConfig, steps: int) -> tuple[Program, float, float]:
    """(program, seconds to trace and compile its chunk, MB of memory that it needs)."""
    program = make_program(run, steps)
    program.start()  # so that compiling it is not counted
    begin = time.perf_counter()
    compiled = program.compile()
    seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    size = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return program, seconds, (size - memory.alias_size_in_bytes) / 1e6


def measure(task: str, pairs: Sequence[tuple[str, str]], batch: int, seeds: int, steps: int, rounds: int) -> list[dict]:
    """A row for each (policy, learner)."""
    peak_tick, peak_gflop = matmul(FLAGS.matmul, settings(task).precision)
    ticks: dict[Any, Callable] = {"matmul": peak_tick}
    programs, rows = {}, []
    for policy, learner in pairs:
        run = settings(task, policy=policy, learner=learner, train__batch_size=batch, num_seeds=seeds)
        log.info(f"{task}: compiling {policy} with {learner}")
        programs[policy, learner] = program, *_ = compile_program(run, steps)
        ticks[policy, learner] = ticking(program)
    seconds = interleave(ticks, rounds)
    peak = peak_gflop / min(seconds["matmul"])
    for (policy, learner), (program, compile_s, megabytes) in programs.items():
        times, gflop = (
            milliseconds(seconds[policy, learner], steps),
            seeds * xla_gflop(program.learner, program.frozen, program.data, program.run.train.batch_size),
        )
        by_hand = hand_gflop(program.run, program.spec, DM_CONTROL[task].num_features)
        rows.append(
            {"policy": policy, "learner": learner, "task": task, "batch": batch, "seeds": seeds}
            | times
            | {
                "gflop": round(gflop, 3),
                "gflop_by_hand": by_hand and round(seeds * by_hand, 3),
                "peak_share": round(gflop / (times["ms_median"] / 1e3) / peak, 3),
                "peak_gflop_per_s": round(peak, 1),
                "memory_mb": round(megabytes, 1),
                "compile_s": round(compile_s, 2),
            }
        )
    return rows


def table(rows: list[dict]) -> str:
    """A Markdown table; the last column is the step's time divided by that of saint with the same learner."""
    columns = ("task", "policy", "learner", "ms a step (min–max)", "GFLOP (by hand)", "of peak", "MB", "compile s")
    lines = ["| " + " | ".join((*columns, "of SAINT")) + " |", "|---" * (len(columns) + 1) + "|"]
    saint = {(r["task"], r["learner"]): r["ms_median"] for r in rows if r["policy"] == "saint"}
    for r in rows:
        by_hand = "" if r["gflop_by_hand"] is None else f" ({r['gflop_by_hand']:.2f})"
        cells = [
            *(r[name] for name in ("task", "policy", "learner")),
            f"{r['ms_median']:.2f} ({r['ms_min']:.2f}–{r['ms_max']:.2f})",
            f"{r['gflop']:.2f}{by_hand}",
            f"{r['peak_share']:.0%}",
            f"{r['memory_mb']:.0f}",
            f"{r['compile_s']:.1f}",
            f"{r['ms_median'] / saint.get((r['task'], r['learner']), np.nan):.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(_: list[str]) -> None:
    setup_logging()
    pairs, rows = [(p, k) for k in FLAGS.learners for p in FLAGS.policies], []
    for task in FLAGS.tasks:
        rows += measure(task, pairs, FLAGS.batch, FLAGS.seeds, FLAGS.steps, FLAGS.rounds)
        print(table(rows), flush=True)
        write(FLAGS.json, rounds=FLAGS.rounds, steps=FLAGS.steps, matmul=FLAGS.matmul, rows=rows)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_list("policies", list(POLICIES), "policies")
    flags.DEFINE_list("learners", list(LEARNERS), "learners")
    flags.DEFINE_list("tasks", list(DM_CONTROL), "tasks whose shapes are measured")
    flags.DEFINE_integer("seeds", 1, "seeds in one program", lower_bound=1)
    flags.DEFINE_integer("batch", 256, "transitions", lower_bound=1)
    flags.DEFINE_integer("steps", 2, "gradient steps in one measurement", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "measurements of each", lower_bound=1)
    flags.DEFINE_integer("matmul", 2048, "size of the square matrices whose product is the peak", lower_bound=1)
    flags.DEFINE_string("json", "", "also write the result to this file")
    command.run(main)
