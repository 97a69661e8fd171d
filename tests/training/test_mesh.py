"""One program on 8 devices is the program on one; what crosses between devices; which meshes are refused."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from pairs import EVERY_PAIR, PAIRS
from scipy.stats import chisquare

from spin_jax.data.sampler import ShardedRows, sample_batch, shard_positions
from spin_jax.errors import ConfigError
from spin_jax.registry import LEARNERS
from spin_jax.training import rows
from spin_jax.training.mesh import ONE_DEVICE, Layout, _replicate, make_layout

ROOT = pathlib.Path(__file__).parents[2]
NAMES = [f"{learner}-{policy}" for learner, policy in PAIRS] + ["asm-asm"]
ON_EVERY_MESH = COMPILED = ("iql-spin", "asm-asm")
if EVERY_PAIR:
    ON_EVERY_MESH += ("awac-autoregressive", "iql-saint", "bcq-spin_cached", "cql-spin_warm")
    COMPILED += ("awac-autoregressive", "bcq-spin_cached")
NEAR = 1e-5  # of a leaf's norm: other sums, so other rounding
pytestmark = pytest.mark.slow


@functools.cache
def on_8_devices(command, *names):
    """What tests/training/mesh_cases.py prints in a process with 8 devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "tests/training/mesh_cases.py", command, *names]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("learner", [*LEARNERS, "asm"])
def test_a_batch_over_8_devices_is_the_batch_of_one(learner):
    """Policies with learners, and the ASM, after 20 updates: random draws do not depend on the layout.

    Which ones: tests/pairs.py.
    """
    names = [name for name in NAMES if name.startswith(f"{learner}-")]
    found = on_8_devices("equal", *names)
    assert sorted(found) == sorted(names)
    for name, meshes in found.items():
        assert meshes["1x8"][1] < NEAR, (name, meshes)


def test_seeds_over_devices_are_the_seeds_of_one():
    found = on_8_devices("equal", *(f"{name}@8x1@2x4" for name in ON_EVERY_MESH))
    for name in ON_EVERY_MESH:
        assert max(difference for _, difference in found[name].values()) < NEAR, found[name]


def test_what_crosses_between_devices():
    """Seeds: nothing. A batch: all-reduces alone, at most 3 an update (stage 1: 5), and an eighth of the work each."""
    alone, compiled = {"flops", "flops_of_one"}, on_8_devices("collectives", *COMPILED)
    for name in COMPILED:
        found = compiled[name]
        assert found["8x1"].keys() == alone
        for mesh in ("1x8", "2x4"):
            assert found[mesh].keys() <= alone | {"all-reduce"}, found
            assert 1 <= found[mesh]["all-reduce"] <= (5 if name == "asm-asm" else 3), found
        for mesh in found:
            assert found[mesh]["flops"] <= 1.05 / 8 * found[mesh]["flops_of_one"], (name, mesh, found)


def test_rows_in_shards_are_drawn_alike_on_any_mesh():
    """Equality at the same data.shards; and all rows are drawn equally often, also those that do not divide."""
    found = on_8_devices("sharded", "iql-spin", "bcq-spin_cached")
    for name in ("iql-spin", "bcq-spin_cached"):
        assert found[name][1] < NEAR, found[name]
    counts = np.array(found["counts"])
    assert chisquare(counts).pvalue > 0.001
    left = len(counts) % 8
    assert left > 0
    assert chisquare([counts[-left:].mean(), counts[:-left].mean()]).pvalue > 0.001


def test_pmap_of_the_one_seed_chunk_is_the_mesh_of_seeds():
    name, difference = on_8_devices("pmapped")["iql-spin"]
    assert difference < NEAR, name


def test_one_shard_is_the_plain_sampler_and_shards_hold_every_row():
    table = {"x": np.arange(103), "y": np.arange(103.0)[:, None]}
    key = jax.random.key(0)
    plain = sample_batch(key, rows.place(table, ONE_DEVICE, 1), 16)
    one = sample_batch(key, ShardedRows(jax.tree.map(lambda x: x[None], table), 103), 16)
    jax.tree.map(np.testing.assert_array_equal, plain, one)
    placed = rows.place(table, ONE_DEVICE, 8)
    assert {int(x) for x in placed.shards["x"].ravel()} == set(range(103))
    np.testing.assert_array_equal(shard_positions(1, 8, 103), [*range(12, 24), *range(96, 103)])
    drawn = sample_batch(key, placed, 16)
    assert drawn["x"].shape == (16,)
    np.testing.assert_array_equal(drawn["x"], drawn["y"][:, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 30), "30 rows of a batch do not divide by 8, the size of the mesh's axis 'data' on 8 devices"),
        ((3, 32, 8), "3 seeds do not divide by 8"),
        ((1, 32, 2, 3), "config.mesh.seed=2 times config.mesh.data=3 must be the number of devices, 8"),
        ((1, 32, 0, 3), "must be the number of devices, 8"),
    ],
)
def test_what_does_not_divide_is_refused_with_the_numbers(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_layout(*arguments, devices=["a device"] * 8)


def test_a_mesh_for_more_devices_than_there_are_is_refused():
    assert make_layout(4, 30) == Layout()
    with pytest.raises(
        ConfigError, match="config.mesh.seed=1 times config.mesh.data=8 must be the number of devices, 1"
    ):
        make_layout(1, 32, data=8)


def test_shards_that_do_not_fit_are_refused():
    table = {"x": np.arange(8)}
    assert rows.choose_shards(table, ONE_DEVICE, 32, 0) == 1
    assert rows.choose_shards(table, ONE_DEVICE, 32, 4) == 4
    with pytest.raises(ConfigError, match="config.data.shards=5 must be a multiple of 1.*divide the batch of 32 rows"):
        rows.choose_shards(table, ONE_DEVICE, 32, 5)


def test_a_log_too_large_for_every_device_is_divided(monkeypatch):
    monkeypatch.setattr(rows, "free_memory", lambda: {"accelerator": 100, "host": 10**9})
    layout = type("Mesh", (), {"shards": 8, "mesh": None})
    assert rows.choose_shards({"x": np.zeros(12)}, layout, 32, 0) == 8  # 96 bytes, more than half of 100
    assert rows.choose_shards({"x": np.zeros(6)}, layout, 32, 0) == 1


def test_what_is_fetched_again_is_not_compiled_again():
    devices = jax.make_mesh((1, 1), ("seed", "data"), axis_types=(AxisType.Auto,) * 2)
    for step in range(3):
        found = Layout(devices).host({"x": jnp.arange(3.0) + step})
        np.testing.assert_array_equal(found["x"], np.arange(3.0) + step)
    assert _replicate(Layout(devices).sharding())._cache_size() == 1
