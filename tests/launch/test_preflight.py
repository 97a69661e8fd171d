"""Preflight: what it reads out of a compiled program, and what it says of a small run on this machine."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from configs.cheetah_run import get_config
from launch import preflight
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
HLO = """
  %a = f32[16,4]{1,0} all-reduce(f32[16,4]{1,0} %x), channel_id=1
  %b = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce-start(f32[8]{0} %x, bf16[2,3]{1,0} %y), channel_id=2
  %c = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce-done(%b)
  %d = s32[] all-gather(s32[] %x), dimensions={0}
  ROOT %e = f32[16,4]{1,0} add(f32[16,4]{1,0} %all-reduce.1, f32[16,4]{1,0} %a)
"""


def test_collectives_and_their_bytes_are_read_from_the_program():
    found = preflight.collectives(HLO)
    assert found == {"all-reduce": (2, 16 * 4 * 4 + 8 * 4 + 6 * 2), "all-gather": (1, 4)}


@pytest.mark.parametrize("topology", ["v9:2x4", "v5e", "v5e:8", "here"])
def test_an_unknown_topology_is_refused_with_the_known_ones(topology):
    with pytest.raises(ConfigError, match=f"--topology={topology} must be local or one of v4, v5e, v5p, v6e"):
        preflight.devices_of(topology)


def small(policy="spin_warm", **changes):
    config = get_config("smoke")
    config.update_from_flattened_dict({"policy": policy, **{k.replace("__", "."): v for k, v in changes.items()}})
    return build(resolve(config))


@pytest.mark.parametrize(
    ("policy", "stages"),
    [
        ("spin_warm", ["pretrain", "policy"]),
        ("spin_distill", ["pretrain", "distill", "policy"]),
        ("factored", ["policy"]),
    ],
)
def test_every_stage_of_a_policy_is_compiled(policy, stages):
    works = preflight.works(small(policy))
    assert list(works) == stages
    assert works["policy"].log.reward.shape == (7600,)  # 8 episodes of 1000 steps, a twentieth held out


def test_an_asm_that_seeds_share_lies_on_all_devices_whatever_the_mesh_of_the_seeds():
    run = small(num_seeds=4, mesh__seed=4, mesh__data=2)
    shared = preflight.works(run)["pretrain"].run
    assert (shared.num_seeds, shared.mesh.seed, shared.mesh.data) == (1, 0, 0)
    assert preflight.works(run)["policy"].run == run
    own = small("spin", num_seeds=4, mesh__seed=4, mesh__data=2, asm__per_seed=True)
    assert preflight.works(own)["pretrain"].run == own


def test_a_stream_needs_no_room_for_the_log():
    """The same program but for what it draws from: the arguments shrink by the log, but for a chunk's batches."""
    (device,) = preflight.jax.devices()
    figures = {}
    for mode in ("memory", "stream"):
        work = preflight.works(small("factored", data__mode=mode, data__episodes=1000))["policy"]
        figures[mode] = preflight.check_stage("policy", work, [device], None)
    log = sum(x.size * x.dtype.itemsize for x in preflight.jax.tree.leaves(work.log))
    batches = preflight.CHUNK * work.batch_size / len(work.log.reward) * log
    saved = figures["memory"]["arguments_mib"] - figures["stream"]["arguments_mib"]
    assert saved == pytest.approx((log - batches) / 2**20, abs=1.5)
    assert figures["stream"]["rows"] == preflight.CHUNK * work.batch_size


@pytest.mark.parametrize(("topology", "platforms"), [("local", "None"), ("v5e:2x4", "cpu")])
def test_only_other_machines_are_compiled_for_on_the_cpu(topology, platforms):
    code = "import os, launch.preflight; print(os.environ.get('JAX_PLATFORMS'))"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    command = [sys.executable, "-c", code, f"--topology={topology}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{platforms}\n", done.stderr[-2000:]


def test_a_stage_that_does_not_fit_is_marked():
    """A chip of 4 MiB: the stage's log alone takes 1.5 MiB, its temporaries the rest, if rows are not divided."""
    run, (device,) = small("factored"), preflight.jax.devices()
    work = preflight.works(run)["policy"]
    for memory, fits in ((4096.0, True), (1 / 1024, False)):
        chip = preflight.Chip(tflops=1, bandwidth=1, interconnect=1, memory=memory)
        row = preflight.check_stage("policy", work, [device], chip)
        assert row["fits"] == fits
        assert row["memory_mib"] == round(memory * 1024)
    assert row["mesh"] == [1, 1]
    assert 0 < row["gflop"] < 1  # of the smallest network and batch
    assert row["bound_by"] in ("operations", "memory")


def test_a_program_that_the_compiler_refuses_for_its_memory_is_tried_in_shards_then_refused_with_the_figures(
    monkeypatch,
):
    told = "RESOURCE_EXHAUSTED: the memory required (59.60G) exceeds available HBM (15.75G)."
    tried = []

    def refuse(work, layout, shards, *_):
        tried.append(shards)
        if shards == 1 or most == 1:
            raise preflight.jax.errors.JaxRuntimeError(f"in a module\n{told}\nmore")
        return {"peak_mib": 1, "memory_mib": 2}

    monkeypatch.setattr(preflight, "measure", refuse)
    monkeypatch.setattr(preflight, "xla_gflop", lambda *_: 1.0)
    monkeypatch.setattr(preflight, "make_layout", lambda *_: preflight.Layout(Mesh()))
    work = preflight.works(small("factored"))["policy"]
    most, chip = 8, preflight.CHIPS["v5e"]
    assert preflight.check_stage("policy", work, [], chip) | {"fits": True, "shards": 8, "stage": "policy"}
    assert tried == [1, 8]
    most = 1
    with pytest.raises(ConfigError, match=r"stage policy does not fit on mesh 1×8: .*59.60G.*15.75G.*more devices"):
        preflight.check_stage("policy", work, [], chip)


class Mesh:
    """A mesh of 8 devices as far as Layout asks."""

    shape = {"seed": 1, "data": 8}


@pytest.mark.slow
def test_it_runs_as_a_user_starts_it(tmp_path):
    command = [sys.executable, "-m", "launch.preflight", "--config=configs/cheetah_run.py:smoke", "--topology=local"]
    done = subprocess.run(
        [*command, f"--json={tmp_path}/out.json"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "| pretrain |" in done.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert [stage["stage"] for stage in found["stages"]] == ["pretrain", "policy"]
    assert all(stage["rows"] == 7600 for stage in found["stages"])
