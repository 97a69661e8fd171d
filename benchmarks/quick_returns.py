"""Measures the returns of every system in quick settings: `python -m benchmarks.quick_returns --root=DIR`.

Runs `main.py` for every policy with IQL, and for SPIN, SAINT and factored with every learner; SPIN, spin_warm, SAINT
and factored with IQL run over three seeds. Policies with the same masking of the ASM share one ASM per seed. Rerunning
the command resumes; finished runs are not repeated. Prints a table of returns, for README.md and docs/results.md, and
writes JSON.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
from absl import flags

from benchmarks.measure import write
from spin_jax import command
from spin_jax.registry import LEARNERS, POLICIES

ROOT = pathlib.Path(__file__).parent.parent
THREE_SEEDS = ("spin", "spin_warm", "saint", "factored")
EVERY_LEARNER = ("spin", "saint", "factored")


def jobs() -> list[tuple[str, str, int]]:
    """(policy, learner, seed) of every run, cheap and informative runs first.

    A run that trains an ASM comes before those that load it.
    """
    order = ["spin_warm", "spin", "factored", "saint", *sorted(set(POLICIES) - set(THREE_SEEDS))]
    found = [(policy, "iql", 0) for policy in order]
    found += [(policy, learner, 0) for learner in LEARNERS if learner != "iql" for policy in EVERY_LEARNER]
    return found + [(policy, "iql", seed) for seed in (1, 2) for policy in THREE_SEEDS]


def run(root: pathlib.Path, task: str, job: tuple[str, str, int], extra: list[str]) -> dict:
    """Runs a job unless it is finished, and returns its results.json; raises CalledProcessError if main.py fails."""
    policy, learner, seed = job
    workdir = root / f"{policy}-{learner}-seed{seed}"
    if not (workdir / "results.json").exists():
        command = [sys.executable, "main.py", f"--config=configs/{task}.py:{FLAGS.preset}", f"--workdir={workdir}"]
        command += [f"--config.policy={policy}", f"--config.learner={learner}", f"--config.seed={seed}", *extra]
        owner = "spin_warm" if POLICIES[policy].all_masked else "spin"
        shared = root / f"{owner}-iql-seed{seed}" / "asm"
        if POLICIES[policy].reads_asm and shared.parent != workdir:
            command += [f"--config.asm.path={shared}"]
            distill = ["distill"] if POLICIES[policy].distiller is not None else []
            for stage in ("data", *distill, "policy", "evaluate"):
                subprocess.run([*command, f"--stage={stage}"], cwd=ROOT, check=True)
        else:
            subprocess.run(command, cwd=ROOT, check=True)
    return json.loads((workdir / "results.json").read_text())


def table(results: dict[tuple[str, str, int], dict]) -> str:
    """A Markdown table, a line per policy, a column per learner; cells: mean over seeds, then each seed's return."""

    def cell(policy, learner):
        returns = [r["return_mean"] for (p, k, _), r in results.items() if (p, k) == (policy, learner)]
        each = ", ".join(f"{value:.0f}" for value in returns)
        return f"{np.mean(returns):.0f}" + f" ({each})" * (len(returns) > 1) if returns else ""

    lines = ["| policy | " + " | ".join(LEARNERS) + " |", "|---" * (len(LEARNERS) + 1) + "|"]
    for policy in dict.fromkeys(policy for policy, _, _ in results):
        lines.append(f"| {policy} | " + " | ".join(cell(policy, learner) for learner in LEARNERS) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    root = pathlib.Path(FLAGS.root).expanduser().absolute()
    results = {}
    wanted = [job for job in jobs() if FLAGS.only is None or job[0] in FLAGS.only]
    for job in wanted[: FLAGS.first]:
        results[job] = run(root, FLAGS.task, job, arguments)
        print(table(results), flush=True)
    rows = [{"policy": p, "learner": k, "seed": s, **r} for (p, k, s), r in results.items()]
    write(FLAGS.json, results=rows)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("root", None, "folder of the runs", required=True)
    flags.DEFINE_string("task", "cheetah_run", "task")
    flags.DEFINE_string("preset", "quick", "preset of the configuration; further --config.… flags go behind --")
    flags.DEFINE_list("only", None, "only these policies")
    flags.DEFINE_integer("first", None, "only the first runs of the list", lower_bound=1)
    flags.DEFINE_string("json", None, "write the results there")
    command.run(main, takes="behind --, flags of main.py")
