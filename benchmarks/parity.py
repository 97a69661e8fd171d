"""Compares our updates with those of the published code: `python -m benchmarks.parity --golden=DIR --json=FILE`.

DIR holds golden traces, .npz files of float64 arrays that a run of the published code left: `0/…` before its first
update, `1/…`, `2/…`, `5/…` after that many, `frozen/…` (SPIN's ASM), and the arrays of every batch, `batch_0/…` and so
on. Shapes, policy and algorithm are read from the arrays; all other settings are those of preset `paper`, with dropout
0 and IQL's expectile 0.75, as the traces were made. Each figure is the norm of the difference divided by the norm of
the distance that the part moved. The exit code is 1 if a figure exceeds 1e-6.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from benchmarks.measure import write
from configs.base import get_config
from spin_jax import command
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.errors import UserError
from spin_jax.from_config import make_learner, make_policy
from spin_jax.learners.asm import make_asm_learner
from spin_jax.learners.base import Learner
from spin_jax.types import ActionSpec, Transition

LIMIT = 1e-6  # largest difference, as a share of the distance moved
EXPECTILE = 0.75  # of the traces
PARTS = {  # what a row shows: the fields of a learner's state
    "policy": ("policy", "params"),
    "critics": ("critics",),
    "targets": ("target_critics", "target_value"),
    "value": ("value",),
}


def read_trace(path: pathlib.Path) -> dict[str, dict]:
    """The arrays of a trace as trees, by the first part of their names; raises UserError if it is no trace."""
    try:
        with np.load(path, allow_pickle=False) as file:
            trace = unflatten_dict({tuple(name.split("/")): file[name] for name in file.files})
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not an .npz file of arrays: {error}") from error
    if not {"0", "1", "batch_0"} <= trace.keys():
        raise UserError(f"{path} is no golden trace: it lacks arrays 0/…, 1/… or batch_0/….")
    return trace


def algorithm_and_policy(state: Mapping[str, Any]) -> tuple[str, str]:
    """The names of learner and policy, from the networks that a state consists of."""
    if "params" in state:
        return "asm", "asm"
    policy = state["policy"]
    kinds = {"lstm": "autoregressive", "asm": "saint", "queries": "spin", "Dense_0": "factored"}
    learner = "awac" if "target_value" in state else "iql" if "value" in state else "bcq"
    return learner, next(name for part, name in kinds.items() if part in policy)


def action_spec(state: Mapping[str, Any], num_slots: int) -> ActionSpec:
    """The joint actions of a trace: a slot's choices are those whose weights are not all 0 (padding is 0)."""
    tree = state.get("params", state.get("policy"))
    if "heads" in tree:
        used = tree["heads"].get("kernel_out", tree["heads"].get("kernel")).any(1)  # [N, width, K]
    else:
        used = tree["Dense_2"]["kernel"].any(0).reshape(num_slots, -1)
    return ActionSpec(tuple(used.sum(1)))


def configure(trace: Mapping[str, Any], learner: str, policy: str) -> ConfigDict:
    """Preset paper with the sizes of a trace."""
    config, state = get_config("cheetah_run", "paper"), trace["0"]
    config.iql.expectile = EXPECTILE
    for section in (config.asm, config.spin, config.saint, config.factored):
        section.dropout = 0.0
    tree = state.get("params", state.get("policy"))
    transformer = tree.get("asm", trace.get("frozen", tree if policy == "asm" else {}))
    if transformer:
        blocks = transformer["body"]
        width, num_heads, _ = blocks["block_0"]["attention"]["query"]["kernel"].shape
        config.asm.update(width=width, num_heads=num_heads, num_blocks=len(blocks))
        config.asm.ffn_mult = blocks["block_0"]["ffn_in"]["kernel"].shape[1] // width
        config.asm.state_tokens = transformer["encoder_out"]["kernel"].shape[1] // width
        if "heads" in transformer:
            config.asm.head_width = transformer["heads"]["kernel_in"].shape[-1]
    if policy == "asm":
        return config
    config.update(learner=learner, policy=policy)
    section = config[policy]
    if "kernel_in" in tree.get("heads", {}):
        section.head_width = tree["heads"]["kernel_in"].shape[-1]
    elif policy == "factored":
        section.width = tree["Dense_0"]["kernel"].shape[1]
    else:
        section.update(state_width=tree["state"]["kernel"].shape[1], choice_width=tree["choices"].shape[1])
        section.update(lstm_width=tree["heads"]["kernel"].shape[1], num_layers=len(tree["lstm"]))
    critics = state["critics"]
    config[learner].update(num_critics=len(critics), critic_width=critics["critic_0"]["Dense_0"]["kernel"].shape[1])
    if "value" in state:
        config[learner].value_width = state["value"]["MLP_0"]["Dense_0"]["kernel"].shape[1]
    return config


def make_update(trace: Mapping[str, Any], learner_name: str, policy_name: str) -> tuple[Learner, Callable]:
    """(learner, update(state, frozen, arrays of a batch) -> state) for the sizes of a trace."""
    num_slots = trace["batch_0"]["action"].shape[1]
    run, spec = build(resolve(configure(trace, learner_name, policy_name))), action_spec(trace["0"], num_slots)

    def asm_learner(drawn):
        return make_asm_learner(
            spec, run.asm.model, run.asm.masking_config, run.asm.optimiser(1), corrupt=lambda *_: drawn
        )

    learner = asm_learner(None) if policy_name == "asm" else make_learner(run, make_policy(run, spec), spec)

    @jax.jit
    def update(state, frozen, arrays):
        ours, batch = learner, Transition(*(arrays.get(name) for name in Transition._fields))
        if policy_name == "asm":
            ours = asm_learner((arrays["choices"], arrays["chosen"]))  # the published code's draws
        return ours.update(state, frozen, batch, jax.random.key(0))[0]

    return learner, update


def begin(trace: Mapping[str, Any], learner: Learner) -> Any:
    """The learner's state with the arrays `0/…` of a trace and fresh optimisers, all in float64."""
    observation = trace["batch_0"]["observation"][:1]
    state = learner.init(jax.random.key(0), trace.get("frozen", ()), observation)
    state = jax.tree.map(lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
    for name, tree in trace["0"].items():
        ours, theirs = (jax.tree.map(jnp.shape, x) for x in (getattr(state, name), tree))
        if ours != theirs:
            differing = sorted(set(flatten_dict(ours).items()) ^ set(flatten_dict(theirs).items()))
            raise UserError(f"0/{name} has other arrays than ours: {differing[:4]}")
    return state._replace(**trace["0"])


def compare(path: pathlib.Path) -> dict[str, Any]:
    """{file, learner, network, differences: {part: {number of updates: share of the distance moved}}} of a trace."""
    trace = read_trace(path)
    learner_name, policy_name = algorithm_and_policy(trace["0"])
    if policy_name == "autoregressive" and learner_name != "iql":
        raise UserError(f"{path}: {learner_name} draws actions of an autoregressive policy; no trace can tell which.")
    differences: dict[str, dict[int, float]] = {}
    with jax.enable_x64(True):
        learner, update = make_update(trace, learner_name, policy_name)
        state, frozen = begin(trace, learner), trace.get("frozen", ())
        for number in range(1, 1 + sum(name.startswith("batch_") for name in trace)):
            state = update(state, frozen, trace[f"batch_{number - 1}"])
            if str(number) in trace:
                theirs, before = trace[str(number)], trace["0"]
                for part, fields in PARTS.items():
                    present = [name for name in fields if name in theirs]
                    if present:
                        ours = [getattr(state, name) for name in present]
                        found = _distance(ours, [theirs[name] for name in present])
                        moved = _distance([before[name] for name in present], [theirs[name] for name in present])
                        differences.setdefault(part, {})[number] = found / moved
    return {"file": path.name, "learner": learner_name, "network": policy_name, "differences": differences}


def _distance(tree: Any, other: Any) -> float:
    squares = jax.tree.map(lambda a, b: float(((np.asarray(a) - np.asarray(b)) ** 2).sum()), tree, other)
    return float(np.sqrt(sum(jax.tree.leaves(squares))))


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each trace."""
    numbers = sorted({number for row in rows for part in row["differences"].values() for number in part})
    after = "updates " + ", ".join(map(str, numbers))
    lines = [f"{'trace':<28}" + "".join(f"{part + ' (' + after + ')':<34}" for part in PARTS)]
    for row in rows:
        found = row["differences"]
        cells = ["  ".join(f"{found[part][n]:.1e}" for n in numbers) if part in found else "-" for part in PARTS]
        lines.append(f"{row['file']:<28}" + "".join(f"{cell:<34}" for cell in cells))
    return "\n".join(lines)


def main(_: list[str]) -> int:
    golden = pathlib.Path(FLAGS.golden)
    paths = sorted(golden.glob("*.npz"))
    if not paths:
        raise UserError(f"--golden={golden}: no golden traces (*.npz) are there.")
    rows = [compare(path) for path in paths]
    worst = max(value for row in rows for part in row["differences"].values() for value in part.values())
    print(table(rows))
    print(f"largest: {worst:.1e} of the distance moved (limit {LIMIT:.0e})")
    write(FLAGS.json, limit=LIMIT, rows=rows)
    return int(not worst <= LIMIT)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("golden", None, "folder of golden traces", required=True)
    flags.DEFINE_string("json", "", "file to write")
    command.run(main)
