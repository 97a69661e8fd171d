"""Measures what only an accelerator can show: `python -m benchmarks.accelerator --root=DIR --json=FILE`.

1. How much evaluation beside training slows training: dog-trot by main.py, with evaluations and without.
2. IQL updates a second: SPIN, SAINT and spin_cached with one seed and with --seeds seeds in one program, and SAINT in
   eager PyTorch if torch is installed. Measured one after the other, as an accelerator is not shared.
3. On several devices: seed-updates a second of one device, for every mesh that they can form.

The file is written after each part; --parts names those to measure. --tiny tries all of it on a CPU.
"""

import importlib.util
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks.measure import interleave, make_program, run_main, settings, spread, ticking, write
from benchmarks.step_time import compile_program
from spin_jax import command
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.record.progress import setup_logging

TINY = [
    "--config.asm.width=16",
    "--config.asm.num_blocks=1",
    "--config.asm.head_width=16",
    "--config.spin.head_width=16",
    "--config.eval.episodes=1",
]


def train(root: pathlib.Path, name: str, stage: str, every: int, asm: pathlib.Path | None, steps: int) -> pathlib.Path:
    """Runs main.py on --task with an evaluation every `every` steps, nothing compiled before; returns the workdir."""
    workdir = root / name
    command = [f"--config=configs/{FLAGS.task}.py", f"--workdir={workdir}"]
    command += [f"--stage={stage}", f"--config.train.num_steps={steps}", f"--config.eval.every_steps={every}"]
    command += [f"--config.data.episodes={FLAGS.episodes}", f"--config.data.dir={root / 'data'}"]
    command += ["--config.asm.num_epochs=2", "--config.asm.checkpoint_every_epochs=1", "--config.eval.asynchronous=on"]
    command += [f"--config.train.checkpoint_every_steps={steps // 2}", *(TINY if FLAGS.tiny else [])]
    command += [f"--config.asm.path={asm}"] if asm else []
    run_main(command)
    return workdir


def evaluation_beside_training(root: pathlib.Path) -> dict:
    """Seconds of stage 2 with an evaluation every 5000 steps, and with only the first and the last evaluation."""
    steps, every = (40, 20) if FLAGS.tiny else (FLAGS.steps, 5_000)
    for stage in ("data", "pretrain"):
        first = train(root, "asm", stage, every, None, steps)
    found = {}
    for name, interval in (("without", steps), ("with", every)):
        workdir = train(root, name, "policy", interval, first / "asm", steps)
        found[name] = json.loads((workdir / "policy" / "summary.json").read_text())
    slower = found["with"]["seconds"] / found["without"]["seconds"] - 1
    print(f"{FLAGS.task}: evaluation every {every} steps slows training by {slower:.1%}", flush=True)
    return {"steps": steps, "every": every, "slowed_by": round(slower, 4)} | found


def updates_a_second(_: pathlib.Path) -> list[dict]:
    """Rows {policy, seeds, compile_s, updates_per_second (of all seeds together)}, each printed when it is known."""
    small, steps, rows = changes(), chunk_steps(), []

    def add(policy: str, count: int, compile_s: float, tick: Callable[[], None], updates: int) -> None:
        (seconds,) = interleave({policy: tick}, FLAGS.rounds).values()
        rate = spread(updates / np.asarray(seconds))
        rows.append({"policy": policy, "seeds": count, "compile_s": compile_s, "updates_per_second": rate})
        shown = f"{rate['median']:.1f} ({rate['min']:.1f}–{rate['max']:.1f})"
        print(f"| {policy} | {count} | {shown} | {compile_s:.1f} |", flush=True)

    print("| policy | seeds | seed-updates a second (min–max) | seconds to compile |\n|---|---|---|---|", flush=True)
    if importlib.util.find_spec("torch"):
        import torch

        from benchmarks.eager_reference import eager_policy, eager_ticking

        torch.set_float32_matmul_precision("high")  # products in TF32 on GPUs, as XLA's are
        program = make_program(settings(FLAGS.task, policy="saint", **small), steps)
        num_features, eager_steps = DM_CONTROL[FLAGS.task].num_features, min(steps, 20)
        eager = eager_policy(program.run, program.spec, num_features)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tick = eager_ticking(program, eager, num_features, eager_steps, device)
        add("saint, eager PyTorch", 1, 0.0, tick, eager_steps)
    for count in (1, FLAGS.seeds):
        for policy in ("spin", "saint", "spin_cached"):
            run = settings(FLAGS.task, policy=policy, num_seeds=count, **small)
            program, compile_s = compile_program(run, steps)[:2]
            add(policy, count, round(compile_s, 2), ticking(program), count * steps)
    return rows


def by_mesh(_: pathlib.Path) -> list[dict]:
    """Rows {policy, mesh: [seed, data], updates_per_second_of_a_device}; one seed for each group of devices."""
    devices, steps, measures = len(jax.devices()), chunk_steps(), {}
    for policy in ("spin", "saint") if devices > 1 else ():
        for groups in (n for n in range(1, devices + 1) if devices % n == 0):
            sizes: dict[str, Any] = {"num_seeds": groups, "mesh__seed": groups, "mesh__data": devices // groups}
            run = settings(FLAGS.task, policy=policy, **sizes, **changes())
            if run.train.batch_size % (devices // groups) == 0:
                measures[policy, groups] = ticking(make_program(run, steps))
    rows = []
    for (policy, groups), seconds in interleave(measures, FLAGS.rounds).items():
        mesh, rate = [groups, devices // groups], spread(groups * steps / devices / np.asarray(seconds))
        rows.append({"policy": policy, "mesh": mesh, "updates_per_second_of_a_device": rate})
        print(f"{policy}, mesh {mesh[0]} × {mesh[1]}: {rate['median']:.2f} seed-updates a second of a device")
    return rows


def chunk_steps() -> int:
    """Gradient steps of one measured call."""
    return 2 if FLAGS.tiny else 200


def changes() -> dict[str, Any]:
    """Changes of the configuration: --precision and --tiny."""
    tiny = {"asm__width": 16, "asm__num_blocks": 1, "train__batch_size": 8} if FLAGS.tiny else {}
    return {"precision": FLAGS.precision, **tiny}


def main(_: list[str]) -> None:
    setup_logging()
    begin, root = time.monotonic(), pathlib.Path(FLAGS.root).expanduser().absolute()
    found: dict[str, Any] = {}
    for name in (name for name in PARTS if name in FLAGS.parts):
        found[name] = PARTS[name](root)
        seconds = round(time.monotonic() - begin, 1)
        write(FLAGS.json, task=FLAGS.task, precision=FLAGS.precision, tiny=FLAGS.tiny, seconds=seconds, **found)


PARTS: dict[str, Callable[[pathlib.Path], Any]] = {
    "evaluation": evaluation_beside_training,  # first: this process does not hold the accelerator yet
    "rows": updates_a_second,
    "meshes": by_mesh,
}
FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", "dog_trot", list(DM_CONTROL), "task")
    flags.DEFINE_string("root", None, "folder of the runs", required=True)
    flags.DEFINE_integer("episodes", 20, "episodes of each split of the log", lower_bound=2)
    flags.DEFINE_multi_enum("parts", list(PARTS), list(PARTS), "what to measure")
    flags.DEFINE_integer("steps", 100_000, "steps of the two runs of main.py", lower_bound=10_000)
    flags.DEFINE_enum(
        "precision", "float32", ["float32", "bfloat16"], "of the Transformer's products, in rows and meshes"
    )
    flags.DEFINE_integer("seeds", 8, "seeds in one program", lower_bound=2)
    flags.DEFINE_integer("rounds", 5, "measurements of each", lower_bound=1)
    flags.DEFINE_bool("tiny", False, "sizes for a try on a CPU")
    flags.DEFINE_string("json", "", "also write the result to this file")
    command.run(main)
