"""Compiles a configured run for a machine that nobody has to own yet, and says whether it fits and what bounds it.

`python -m launch.preflight --config=configs/dog_trot.py --topology=v5e:2x4` compiles every stage for a TPU topology
(needs `pip install -e '.[tpu]'`, no TPU), `--topology=local` for the devices of this machine. Nothing is run. The exit
code is 1 if a stage does not fit into a chip's memory or does not divide.
"""

import math
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

if not re.search(r"--?topology[= ]local", " ".join(sys.argv)):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # shapes are made on the host; TPUs are only compiled for
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no TPU is used, so its lock file is nothing to wait for
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # libtpu would ask the cloud which machine this is

import jax
import jax.numpy as jnp
from absl import flags
from jax.experimental import topologies
from jax.sharding import AxisType
from ml_collections import config_flags

from spin_jax import command
from spin_jax.config.auto import resolve
from spin_jax.config.build import build, has_stage
from spin_jax.config.sections import RunConfig
from spin_jax.data.sampler import ShardedRows
from spin_jax.data.stream import CHUNK_BYTES
from spin_jax.errors import ConfigError
from spin_jax.from_config import make_learner, make_policy
from spin_jax.frozen.artefact import params_like
from spin_jax.frozen.load import frozen_like, has_own_frozen
from spin_jax.learners.asm import make_asm_learner
from spin_jax.learners.base import Learner, state_like
from spin_jax.policies.base import encoded
from spin_jax.record.files import write_json
from spin_jax.registry import POLICIES
from spin_jax.run import given_config, with_shipped_configs
from spin_jax.stages.make_data import expected_transitions, spaces_of
from spin_jax.stages.members import of_asm, seeds_of
from spin_jax.training.loop import make_run_chunk
from spin_jax.training.mesh import Layout, make_layout
from spin_jax.training.operations import xla_gflop
from spin_jax.training.seeds import Seeds
from spin_jax.types import Transition

COLLECTIVES = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}  # else 4
WAY_OUT = "Use more devices along 'data', a smaller batch or fewer seeds a device, or config.data.mode=stream."
CHUNK = 100  # gradient steps in the compiled program; a loop's size does not depend on it


class Chip(NamedTuple):
    """A chip, from Google's documentation of Cloud TPU versions."""

    tflops: float  # bfloat16
    bandwidth: float  # GB/s, of its memory
    interconnect: float  # GB/s, to the other chips
    memory: float  # GiB


CHIPS = {
    "v4": Chip(tflops=275, bandwidth=1228, interconnect=300, memory=32),
    "v5e": Chip(tflops=197, bandwidth=819, interconnect=200, memory=16),
    "v5p": Chip(tflops=459, bandwidth=2765, interconnect=600, memory=95),
    "v6e": Chip(tflops=918, bandwidth=1640, interconnect=448, memory=32),
}


class Work(NamedTuple):
    """What a stage compiles: the run that it is of, a learner, the shapes of what it reads, its batch and its seeds."""

    run: RunConfig
    learner: Learner
    frozen: Any
    log: Transition
    batch_size: int
    own_frozen: bool = False

    @property
    def seeds(self) -> Seeds:
        """How the stage trains its seeds."""
        return seeds_of(self.run, self.own_frozen)

    def rows(self, layout: Layout, shards: int) -> int:
        """Rows that one device holds: of the log or, in mode stream, of a chunk's batches."""
        if self.run.data.mode == "stream":
            return self.chunk * self.batch_size // layout.shards
        return len(self.log.reward) if shards == 1 else len(self.log.reward) // layout.shards

    @property
    def chunk(self) -> int:
        """Gradient steps in the compiled program; a stream's are fewer where a chunk's batches would be too large."""
        if self.run.data.mode != "stream":
            return CHUNK
        row = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in jax.tree.leaves(self.log))
        return max(1, min(CHUNK, CHUNK_BYTES // (self.batch_size * row)))

    @property
    def state(self) -> Any:
        """The shapes of the state of one seed."""
        return state_like(self.learner, self.frozen, jnp.zeros((1, *self.log.observation.shape[1:])))


def collectives(hlo: str) -> dict[str, tuple[int, int]]:
    """{kind: (number, bytes)} of the collectives in the text of a compiled program, loop bodies counted once."""
    found: dict[str, tuple[int, int]] = {}
    for shapes, kind in re.findall(rf"= (.+?) ({COLLECTIVES})(?:-start)?\(", hlo):
        size = 0
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            entries = 1
            for dim in filter(None, dims.split(",")):
                entries *= int(dim)
            size += entries * BYTES.get(dtype, 4)
        number, total = found.get(kind, (0, 0))
        found[kind] = number + 1, total + size
    return found


def devices_of(topology: str) -> tuple[list[Any], Chip | None]:
    """The devices of a topology such as v5e:2x4, and what is known of the chip; 'local': those of this machine."""
    if topology == "local":
        return jax.devices(), None
    name = topology.split(":")[0]
    if name not in CHIPS or not re.fullmatch(r"\w+:\d+x\d+(x\d+)?", topology):
        raise ConfigError(f"--topology={topology} must be local or one of {', '.join(CHIPS)} with a shape, as v5e:2x4.")
    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices), CHIPS[name]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"--topology={topology}: {reason}. It needs libtpu: pip install -e '.[tpu]'.") from error


def works(run: RunConfig) -> dict[str, Work]:
    """What each stage of the run compiles, as shapes alone."""
    spaces, model, config = spaces_of(run), run.asm.model, run.policy_config
    spec, rows = spaces.spec, expected_transitions(run)

    def array(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct((rows, *shape), dtype)

    observation, action = array(spaces.num_features), array(spec.num_slots, dtype=jnp.int32)
    log, found = Transition(observation, action, array(), array(), observation), {}
    if has_stage(run.policy, "pretrain"):
        asm = make_asm_learner(spec, model, run.asm.masking_config, run.asm.optimiser(1))
        found["pretrain"] = Work(of_asm(run), asm, (), log, run.asm.batch_size)
    make_distiller = POLICIES[run.policy].distiller
    if make_distiller is not None:
        frozen = params_like(spec, spaces.num_features, model)
        distiller = make_distiller(spec, model, config)
        found["distill"] = Work(run, distiller, frozen, log, config.batch_size, run.asm.per_seed)
    policy, frozen = make_policy(run, spec), frozen_like(run, spec, spaces.num_features)
    learner = make_learner(run, policy, spec)
    if policy.encode is not None:
        blank = jax.ShapeDtypeStruct((1, spaces.num_features), jnp.float32)
        x = jax.eval_shape(lambda frozen, observation: encoded(policy, frozen, observation), frozen, blank)
        z = array(*x.shape[1:], dtype=jnp.uint16)
        log = log._replace(x=z, next_x=z if learner.asks_next else None)
    found["policy"] = Work(run, learner, frozen, log, run.train.batch_size, has_own_frozen(run))
    return found


def compile_stage(work: Work, layout: Layout, shards: int) -> Any:
    """The compiled chunk of a stage, with its log in `shards` shards or, in mode stream, with a chunk's batches."""

    def placed(tree, *axes, lead=()):
        sharding = layout.sharding(*axes)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=sharding), tree)

    seeds, lead = work.seeds, (work.seeds.num,) if work.seeds.num > 1 else ()
    log: Any = placed(work.log)
    if shards > 1:
        total = work.log.reward.shape[0]
        per = total // shards + total % shards
        cut = jax.tree.map(lambda x: jax.ShapeDtypeStruct((per, *x.shape[1:]), x.dtype), work.log)
        log = ShardedRows(placed(cut, "data", lead=(shards,)), total)
    streamed, chunk = work.run.data.mode == "stream", work.chunk
    if streamed:
        batches = (chunk, work.batch_size)
        cut = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*batches, *x.shape[1:]), x.dtype), work.log)
        log = placed(cut, None, "data")
    own = seeds.axes if seeds.own_frozen else ()
    run_chunk = make_run_chunk(work.learner, work.batch_size, chunk, streamed, seeds, layout)
    key = placed(jax.eval_shape(lambda: jax.random.key(0)), *seeds.axes, lead=lead)
    state, frozen = placed(work.state, *seeds.axes, lead=lead), placed(work.frozen, *own, lead=lead if own else ())
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=layout.sharding())
    return run_chunk.lower(state, frozen, log, key, step).compile()


def measure(work: Work, layout: Layout, shards: int, gflop: float, chip: Chip | None) -> dict[str, Any]:
    """The figures of a stage, of one device: MiB, GFLOP and collectives of a step, and a lower bound of its time.

    The bound (a roofline) is the largest of three: the operations at the chip's bfloat16 peak, the trained state read
    and written once at the bandwidth of its memory, and the collectives' bytes sent and received at that of the
    interconnect.
    """
    compiled = compile_stage(work, layout, shards)
    memory, mib = compiled.memory_analysis(), 2**20
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    peak += memory.output_size_in_bytes - memory.alias_size_in_bytes
    row: dict[str, Any] = {
        "devices": layout.groups * layout.shards,
        "mesh": [layout.groups, layout.shards],
        "rows": work.rows(layout, shards),
        "arguments_mib": round(memory.argument_size_in_bytes / mib),
        "temporaries_mib": round(memory.temp_size_in_bytes / mib, 1),
        "peak_mib": round(peak / mib),
        "gflop": round(gflop, 2),
        "collectives": {kind: list(found) for kind, found in collectives(compiled.as_text()).items()},
    }
    if chip is not None:
        state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(work.state)) * work.run.num_seeds
        moved = 2 * state / layout.groups / 1e6
        crossing = 2 * sum(size for _, size in row["collectives"].values()) / 1e6
        bounds = {
            "operations": gflop / chip.tflops,
            "memory": moved / chip.bandwidth,
            "interconnect": crossing / chip.interconnect,
        }
        by = max(bounds, key=bounds.__getitem__)
        row |= {"memory_mib": round(chip.memory * 1024), "bound_ms": round(bounds[by], 3), "bound_by": by}
    return row


def check_stage(name: str, work: Work, devices: Sequence[Any], chip: Chip | None) -> dict[str, Any]:
    """The figures of a stage, its rows in shards where they do not fit on every device; `fits`: whether it does.

    Raises ConfigError with the compiler's figures if that refuses the program for its memory.
    """
    run = work.run
    layout = make_layout(run.num_seeds, work.batch_size, run.mesh.seed, run.mesh.data, devices)
    if layout.mesh is None:  # one device, which need not be one of this machine
        axes = (AxisType.Auto,) * 2
        layout = Layout(jax.make_mesh((1, 1), ("seed", "data"), axis_types=axes, devices=devices))
    seeds_here = run.num_seeds / layout.groups
    gflop = seeds_here * xla_gflop(work.learner, work.frozen, work.log, work.batch_size) / layout.shards
    streamed = run.data.mode == "stream"
    for shards in [run.data.shards or 1] if run.data.shards or streamed else sorted({1, layout.shards}):
        try:
            row = measure(work, layout, shards, gflop, chip)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            row, refused = {}, next(part for part in str(error).splitlines() if "RESOURCE_EXHAUSTED" in part)
            continue
        fits = chip is None or row["peak_mib"] <= row["memory_mib"]
        if fits:
            break
    if not row:
        raise ConfigError(f"stage {name} does not fit on mesh {layout.groups}×{layout.shards}: {refused} {WAY_OUT}")
    return {"stage": name, "shards": shards, **row, "fits": fits}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the stages' figures, all of one device."""
    head = "| stage | mesh | rows | arguments MiB | temporaries MiB | peak MiB | GFLOP a step | collectives a step |"
    lines = [f"{head} at least ms a step |", "|---" * 9 + "|"]
    for row in rows:
        crossing = ", ".join(f"{n} {kind}, {size / 1e6:.2f} MB" for kind, (n, size) in row["collectives"].items())
        peak = f"{row['peak_mib']}" + (f" of {row['memory_mib']}" if "memory_mib" in row else "")
        cells = [row["stage"], "×".join(map(str, row["mesh"])), row["rows"], row["arguments_mib"]]
        bound = f"{row['bound_ms']} ({row['bound_by']})" if "bound_ms" in row else ""
        cells += [row["temporaries_mib"], peak, row["gflop"], crossing or "none", bound]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(_: list[str]) -> None:
    devices, chip = devices_of(FLAGS.topology)
    run = build(resolve(given_config(), accelerated=FLAGS.topology != "local" or None))
    rows = []
    for name, work in works(run).items():
        print(f"preflight: compiling stage {name} for {len(devices)} devices …", file=sys.stderr, flush=True)
        rows.append(check_stage(name, work, devices, chip))
    print(f"{run.task}, {run.policy} with {run.learner}, {FLAGS.topology}; figures are of one device\n\n{table(rows)}")
    if FLAGS.json:
        write_json(pathlib.Path(FLAGS.json), {"topology": FLAGS.topology, "stages": rows})
    for row in rows:
        if not row["fits"]:
            raise ConfigError(
                f"stage {row['stage']} needs {row['peak_mib']} MiB of a chip that has {row['memory_mib']}. {WAY_OUT}"
            )


FLAGS = flags.FLAGS
if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "configuration file, with a preset after a colon")
    flags.DEFINE_string("topology", None, "local, or a TPU topology such as v5e:2x4", required=True)
    flags.DEFINE_string("json", "", "file to write")
    flags.mark_flag_as_required("config")
    command.run(main, argv=with_shipped_configs())
