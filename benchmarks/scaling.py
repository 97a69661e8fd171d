"""Measures how the cost of a step grows: `python -m benchmarks.scaling --json=FILE --figure=FILE`.

Times IQL's update of SPIN, SAINT, the autoregressive policy and spin_cached. One axis at a time varies around a base
case: the number of slots N, of choices K, the batch size, the number of transitions in the log. The policies are
interleaved at each value. Slopes are fitted on logarithmic scales over the upper half of an axis.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from benchmarks.measure import Program, interleave, make_program, milliseconds, settings, ticking, write
from spin_jax import command
from spin_jax.record.progress import log, setup_logging
from spin_jax.types import ActionSpec

NUM_FEATURES = 64
BASE = {"slots": 16, "choices": 8, "batch": 64, "transitions": 10_000}
AXES = {
    "slots": (2, 4, 8, 16, 32, 64, 128),
    "choices": (3, 8, 16, 32, 64, 128, 256),
    "batch": (16, 32, 64, 128, 256, 512),
    "transitions": (1_000, 10_000, 100_000, 1_000_000),
}


def program(policy: str, case: dict[str, int], steps: int) -> Program:
    spec = ActionSpec((case["choices"],) * case["slots"])
    run = settings("cheetah_run", policy=policy, train__batch_size=case["batch"], asm__width=FLAGS.width)
    return make_program(run, steps, case["transitions"], spec, NUM_FEATURES)


def measure(axis: str, values: Any, policies: Sequence[str], steps: int, rounds: int) -> list[dict]:
    """A row for each policy and value of the axis, everything else as in BASE."""
    rows = []
    for value in values:
        case = BASE | {axis: value}
        log.info(f"{axis} {value}: compiling")
        ticks = {}
        for policy in policies:
            size = case["transitions"] * case["slots"] * FLAGS.width * 2
            if policy == "spin_cached" and size > FLAGS.cache_gb * 1e9:
                continue  # z(s) of this log would not fit into --cache_gb
            ticks[policy] = ticking(program(policy, case, steps))
        for policy, seconds in interleave(ticks, rounds).items():
            rows.append({"axis": axis, "value": value, "policy": policy} | milliseconds(seconds, steps))
        jax.clear_caches()
    return rows


def slope(rows: list[dict]) -> float:
    """d log(ms) / d log(value) over the upper half of the values."""
    upper = sorted(rows, key=lambda r: r["value"])[len(rows) // 2 :]
    return float(np.polyfit(np.log([r["value"] for r in upper]), np.log([r["ms_median"] for r in upper]), 1)[0])


def select(rows: list[dict], **fields) -> list[dict]:
    return [r for r in rows if all(r[name] == value for name, value in fields.items())]


def table(rows: list[dict], policies: Sequence[str]) -> str:
    lines = ["| axis | value | " + " | ".join(policies) + " |", "|---" * (len(policies) + 2) + "|"]
    for axis in dict.fromkeys(r["axis"] for r in rows):
        for value in dict.fromkeys(r["value"] for r in select(rows, axis=axis)):
            found = {r["policy"]: f"{r['ms_median']:.2f}" for r in select(rows, axis=axis, value=value)}
            lines.append(f"| {axis} | {value} | " + " | ".join(found.get(p, "") for p in policies) + " |")
        slopes = {p: select(rows, axis=axis, policy=p) for p in policies}
        cells = (f"{slope(found):.2f}" if len(found) > 2 else "" for found in slopes.values())
        lines.append(f"| {axis} | *slope* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(path: str, rows: list[dict], policies: Sequence[str]) -> None:
    """Draws milliseconds per step on logarithmic scales, one panel for each axis."""
    axes = list(dict.fromkeys(r["axis"] for r in rows))
    figure = Figure(figsize=(3.4 * len(axes), 4), layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        panel.set(xscale="log", yscale="log", xlabel=axis)
        for i, policy in enumerate(policies):
            found = select(rows, axis=axis, policy=policy)
            x, low, mid, high = ([r[name] for r in found] for name in ("value", "ms_min", "ms_median", "ms_max"))
            panel.plot(x, mid, marker="o", markersize=3, color=f"C{i}", label=policy if panel is panels[0] else None)
            panel.fill_between(x, low, high, color=f"C{i}", alpha=0.15, linewidth=0)
        values = sorted({r["value"] for r in select(rows, axis=axis)})
        panel.set_xticks(values, [f"{value:,}" for value in values])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter("{x:g}")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms a step")
    base = ", ".join(f"{name} {value:,}" for name, value in BASE.items())
    figure.suptitle(f"IQL update, around {base}, width {FLAGS.width}, {NUM_FEATURES} features", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=len(policies))
    figure.savefig(path, dpi=110)


def main(_: list[str]) -> None:
    setup_logging()
    rows = []
    for axis in FLAGS.axes:
        rows += measure(axis, AXES[axis][: FLAGS.first], FLAGS.policies, FLAGS.steps, FLAGS.rounds)
        print(table(select(rows, axis=axis), FLAGS.policies), flush=True)
    about = {"base": BASE, "features": NUM_FEATURES, "width": FLAGS.width, "steps": FLAGS.steps, "rounds": FLAGS.rounds}
    write(FLAGS.json, **about, rows=rows)
    if FLAGS.figure:
        plot(FLAGS.figure, rows, FLAGS.policies)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_list("policies", ["spin", "saint", "autoregressive", "spin_cached"], "policies")
    flags.DEFINE_list("axes", list(AXES), "what to vary")
    flags.DEFINE_integer("first", 99, "the number of values of each axis, from the smallest", lower_bound=1)
    flags.DEFINE_integer("width", 64, "D", lower_bound=4)
    flags.DEFINE_float("cache_gb", 4.0, "spin_cached is left out where z of the log is larger")
    flags.DEFINE_integer("steps", 2, "gradient steps in one measurement", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "measurements of each", lower_bound=1)
    flags.DEFINE_string("json", "", "also write the result to this file")
    flags.DEFINE_string("figure", "", "also write the figure to this file")
    command.run(main)
