"""Runs in a process of its own with 8 devices, for test_mesh.py: `python tests/training/mesh_cases.py COMMAND …`.

Every command prints one JSON object. Sizes are tiny; dropout is on everywhere, as published.
"""

import json
import sys

import jax
import numpy as np

from configs.cheetah_run import get_config
from launch.preflight import collectives as count
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.data.sampler import ShardedRows, sample_batch
from spin_jax.from_config import make_learner, make_policy
from spin_jax.learners.asm import make_asm_learner
from spin_jax.learners.base import compiled_init
from spin_jax.record.checkpoint import flatten
from spin_jax.registry import LEARNERS, POLICIES
from spin_jax.stages.estimate import random_frozen, random_log
from spin_jax.training import rows
from spin_jax.training.loop import make_run_chunk
from spin_jax.training.mesh import ONE_DEVICE, make_layout
from spin_jax.training.seeds import Seeds
from spin_jax.types import ActionSpec

SPEC, FEATURES, BATCH, STEPS, TOTAL = ActionSpec((3, 2, 4, 3)), 7, 64, 20, 1003
MESHES = {"1x8": (1, 1, 8), "8x1": (8, 8, 1), "2x4": (2, 2, 4)}  # seeds, mesh


def prepare(learner, policy):
    """(learner, frozen, log) of a pair, or of the ASM, with the settings of preset smoke and dropout everywhere."""
    config = get_config("smoke")
    config.update(policy="spin" if policy == "asm" else policy, learner="iql" if policy == "asm" else learner)
    config.asm.dropout = 0.1
    config.train.always_dropout = True
    config.cql.penalty = "candidates" if POLICIES[config.policy].reads_asm else "slots"
    config.iql.extract_after = 0
    run = build(resolve(config))
    if policy == "asm":
        made, frozen = make_asm_learner(SPEC, run.asm.model, run.asm.masking_config, run.asm.optimiser(100)), ()
        log = random_log(SPEC, FEATURES, TOTAL)
    else:
        frozen, policy_ = random_frozen(run, SPEC, FEATURES), make_policy(run, SPEC)
        made, log = make_learner(run, policy_, SPEC), random_log(SPEC, FEATURES, TOTAL, policy_, frozen)
    return made, frozen, jax.tree.map(np.asarray, log)


def program(prepared, seeds, layout, shards=1):
    """(compiled chunk of STEPS updates, its arguments)."""
    learner, frozen, log = prepared
    run = make_run_chunk(learner, BATCH, STEPS, seeds=seeds, layout=layout)
    blank = log.observation[:1]
    state = seeds.bundle([compiled_init(learner)(jax.random.key(i), frozen, blank) for i in range(seeds.num)])
    keys = seeds.bundle([jax.random.key(100 + i) for i in range(seeds.num)])
    arguments = (
        layout.put(state, *seeds.axes),
        layout.put(frozen),
        rows.place(log, layout, shards),
        layout.put(keys, *seeds.axes),
        0,
    )
    return run.lower(*arguments).compile(), arguments


def trained(prepared, seeds, layout, shards=1):
    """The networks after STEPS updates, by name."""
    compiled, arguments = program(prepared, seeds, layout, shards)
    state = layout.host(compiled(*arguments)[0])
    parts = set(state._fields) & {"params", "policy", "critics", "target_critics", "value", "target_value"}
    return {name: np.asarray(x) for part in parts for name, x in flatten({part: getattr(state, part)}).items()}


def worst(found, expected):
    """The largest difference of a leaf, as a share of its norm; attention's key biases are left out.

    They change no output: their gradient is rounding noise, of which Adam makes full steps.
    """
    shares = {
        name: float(np.linalg.norm(found[name] - x) / np.linalg.norm(x))
        for name, x in expected.items()
        if not name.endswith("key/bias") and x.size
    }
    return max(shares.items(), key=lambda item: item[1], default=("no parameters", 0.0))


def equal(names):
    """{learner-policy: {mesh: (leaf, largest difference from one device)}}."""
    found = {}
    for name in names:
        learner, _, rest = name.partition("-")
        policy, *meshes = rest.split("@")
        prepared = prepare(learner, policy)
        for mesh in meshes or ["1x8"]:
            num, *shape = MESHES[mesh]
            seeds = Seeds(num=num, at_once=num)
            layout = make_layout(num, BATCH, *shape)
            expected = trained(prepared, seeds, ONE_DEVICE)
            found.setdefault(f"{learner}-{policy}", {})[mesh] = worst(trained(prepared, seeds, layout), expected)
    return found


def collectives(names):
    """{learner-policy: {mesh: {collective: number, flops: of a device, flops_of_one: on one device}}}.

    Batches of 512 rows, in which the work that every device repeats (the optimisers') is small.
    """
    global BATCH
    BATCH, found = 512, {}
    for name in names:
        prepared = prepare(*name.split("-"))
        for mesh, (num, *shape) in MESHES.items():
            seeds = Seeds(num=num, at_once=num)
            compiled, _ = program(prepared, seeds, make_layout(num, BATCH, *shape))
            one, _ = program(prepared, seeds, ONE_DEVICE)
            counts = {kind: number for kind, (number, _) in count(compiled.as_text()).items()}
            flops = [program_.cost_analysis()["flops"] for program_ in (compiled, one)]
            found.setdefault(name, {})[mesh] = counts | {"flops": flops[0], "flops_of_one": flops[1]}
    return found


def sharded(names):
    """Equality of 1x8 with one device at data.shards=8, where 8 does not divide the log; the counts of drawn rows."""
    layout, one, found = make_layout(1, BATCH), Seeds(), {}
    for name in names:
        prepared = prepare(*name.split("-"))
        expected = trained(prepared, one, ONE_DEVICE, shards=8)
        found[name] = worst(trained(prepared, one, layout, shards=8), expected)
        assert worst(trained(prepared, one, ONE_DEVICE), expected)[1] > 1e-3  # other batches
    positions = rows.place(np.arange(TOTAL), layout, 8)
    assert isinstance(positions, ShardedRows)
    assert positions.shards.sharding.shard_shape(positions.shards.shape)[0] == 1
    draw = jax.jit(jax.vmap(lambda key: sample_batch(key, positions, BATCH)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4000))).ravel()
    return found | {"counts": np.bincount(drawn, minlength=TOTAL).tolist()}


def pmapped(_):
    """jax.pmap of the one-seed chunk over 8 devices against the mesh 8x1."""
    learner, frozen, log = prepared = prepare("iql", "spin")
    seeds = Seeds(num=8, at_once=8)
    expected = trained(prepared, seeds, make_layout(8, BATCH, 8, 1))
    run = make_run_chunk(learner, BATCH, STEPS)
    states = [compiled_init(learner)(jax.random.key(i), frozen, log.observation[:1]) for i in range(8)]
    keys = seeds.bundle([jax.random.key(100 + i) for i in range(8)])
    state, _ = jax.pmap(run, in_axes=(0, None, None, 0, None))(seeds.bundle(states), frozen, log, keys, 0)
    parts = ("policy", "critics", "target_critics", "value")
    found = {name: np.asarray(x) for part in parts for name, x in flatten({part: getattr(state, part)}).items()}
    return {"iql-spin": worst(found, expected)}


def everything(_):
    """The names of all pairs, and of the ASM."""
    return [f"{learner}-{policy}" for learner in LEARNERS for policy in POLICIES] + ["asm-asm"]


if __name__ == "__main__":
    command, *names = sys.argv[1:]
    assert len(jax.devices()) == 8 or command == "everything"
    print(json.dumps(globals()[command](names)))
