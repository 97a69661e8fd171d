"""Times IQL updates against eager PyTorch in the published style: `python -m benchmarks.eager_reference`.

Needs `pip install torch` (the CPU build is enough). Both sides have the same architecture, the same batch and dropout
as published. Their outputs are compared on the same weights before anything is timed. Measurements are interleaved.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import flags

from benchmarks.measure import Program, interleave, make_program, milliseconds, settings, ticking, write
from spin_jax import command
from spin_jax.config.sections import RunConfig
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.errors import UserError
from spin_jax.from_config import make_policy
from spin_jax.record.progress import setup_logging
from spin_jax.types import ActionSpec

try:
    import torch

    from benchmarks.eager_torch import IQL, AutoregressivePolicy, FactoredPolicy, TransformerPolicy, load
except ModuleNotFoundError as error:  # `main` says so
    missing: ModuleNotFoundError | None = error
else:
    missing = None

POLICIES = ("saint", "spin", "factored", "autoregressive")


def eager_policy(run: RunConfig, spec: ActionSpec, num_features: int) -> "torch.nn.Module":
    """The configured policy in PyTorch, with fresh weights."""
    shapes = (num_features, spec.num_slots, spec.num_choices)
    if run.policy in ("saint", "spin"):
        settings = run.policy_config
        return TransformerPolicy(*shapes, run.asm.model, settings.head_width, settings.dropout, run.policy == "spin")
    return (FactoredPolicy if run.policy == "factored" else AutoregressivePolicy)(*shapes, run.policy_config)


def check_outputs(program: Program, policy: "torch.nn.Module", num_features: int) -> float:
    """Largest difference of log-probabilities with the same weights and no dropout; raises SystemExit from 1e-3 on."""
    run, data = program.run, jax.tree.map(lambda x: x[:32], program.data)
    params, ours = program.start().policy, make_policy(run, program.spec)
    frozen = program.frozen
    load(policy, {**params, "asm": frozen} if run.policy == "spin" else params)
    expected = jax.jit(ours.log_prob)(params, frozen, data.observation, data.action, None)
    observation, action = torch.tensor(np.asarray(data.observation)), torch.tensor(np.asarray(data.action)).long()
    iql = IQL(policy, num_features, program.spec.num_slots, program.spec.num_choices, run.learner_config)
    policy.eval()
    with torch.no_grad():
        found = iql.log_prob(observation, action).numpy()
    difference = float(np.abs(found - np.asarray(expected)).max())
    if not difference < 1e-3:
        raise SystemExit(f"{run.policy}: log-probabilities differ by {difference}; nothing was timed.")
    return difference


def eager_ticking(
    program: Program, policy: "torch.nn.Module", num_features: int, steps: int, device: str
) -> Callable[[], None]:
    """A function that takes `steps` eager updates, each on a batch drawn from the program's log."""
    spec, size = program.spec, program.run.train.batch_size
    columns = ("observation", "action", "reward", "discount", "next_observation")
    data = [torch.tensor(np.asarray(getattr(program.data, name))).to(device) for name in columns]
    data[1] = data[1].long()
    iql = IQL(policy, num_features, spec.num_slots, spec.num_choices, program.run.learner_config, device)

    def tick():
        for _ in range(steps):  # the last line of each update fetches its losses, which waits for the device
            index = torch.randint(len(data[0]), (size,), device=device)
            iql.update(*(column[index] for column in data))

    return tick


def compare(
    task: str, policies: Sequence[str], batch: int, steps: int, rounds: int, device: str, **changes
) -> list[dict]:
    """Rows {policy, task, batch, ours: ms, eager: ms, ratio, largest_difference}, all timed in one interleaved run."""
    measures: dict[tuple[str, str], Callable] = {}
    differences, num_features = {}, DM_CONTROL[task].num_features
    for name in policies:
        run = settings(task, policy=name, train__batch_size=batch, **changes)
        program = make_program(run, steps)
        eager = eager_policy(run, program.spec, num_features)
        differences[name] = check_outputs(program, eager, num_features)
        measures[name, "ours"] = ticking(program)
        measures[name, "eager"] = eager_ticking(program, eager, num_features, steps, device)
    seconds = interleave(measures, rounds)
    rows = []
    for name in policies:
        ours, eager = (milliseconds(seconds[name, side], steps) for side in ("ours", "eager"))
        ratio = round(ours["ms_median"] / eager["ms_median"], 3)
        row = {"policy": name, "task": task, "batch": batch, "ours": ours, "eager": eager, "ratio": ratio}
        rows.append(row | {"largest_difference": differences[name]})
    return rows


def main(_: list[str]) -> None:
    if missing:
        raise UserError(f"This benchmark compares with PyTorch: pip install torch ({missing}).")
    setup_logging()
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    rows = compare(FLAGS.task, FLAGS.policies, FLAGS.batch, FLAGS.steps, FLAGS.rounds, device)
    print(f"{FLAGS.task}, batch {FLAGS.batch}, IQL, {FLAGS.rounds} rounds of {FLAGS.steps} steps, PyTorch on {device}")
    print(f"  {'policy':<16}{'ours, ms a step':>28}{'eager PyTorch':>28}{'ratio':>8}")
    for row in rows:
        cells = [
            f"{row[s]['ms_median']:.2f} ({row[s]['ms_min']:.2f}-{row[s]['ms_max']:.2f})" for s in ("ours", "eager")
        ]
        print(f"  {row['policy']:<16}{cells[0]:>28}{cells[1]:>28}{row['ratio']:>8.3f}")
    write(FLAGS.json, torch=torch.__version__, rounds=FLAGS.rounds, steps=FLAGS.steps, rows=rows)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", "dog_trot", list(DM_CONTROL), "task whose shapes are measured")
    flags.DEFINE_list("policies", list(POLICIES), "policies to compare")
    flags.DEFINE_integer("batch", 256, "transitions", lower_bound=1)
    flags.DEFINE_integer("steps", 2, "gradient steps in one measurement", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "measurements of each", lower_bound=1)
    flags.DEFINE_string("json", "", "also write the result to this file")
    command.run(main)
