"""What a later stage would refuse is refused before the first one begins."""

import dataclasses

import pytest
from test_inputs import save_asm

from spin_jax import run as main
from spin_jax.errors import CheckpointError, ConfigError
from spin_jax.frozen.load import load_asms
from spin_jax.stages import STAGES, make_data, requirements
from spin_jax.stages.members import members
from spin_jax.stages.requirements import check_requirements


@pytest.mark.parametrize("field", ["path", "body_path"])
def test_an_asm_that_is_missing_is_named_before_the_log_is_rolled_out(smoke, tmp_path, monkeypatch, field):
    monkeypatch.setattr(make_data, "make_data", None)
    run, workdir = smoke(tmp_path / "work", policy="spin_warm", **{f"asm__{field}": str(tmp_path / "none")})
    stages = ["data", "pretrain", "policy"] if field == "body_path" else ["data", "policy"]
    with pytest.raises(CheckpointError, match=f"No pre-trained ASM in {tmp_path}/none"):
        check_requirements(run, workdir, stages)
    assert not workdir.path.exists()


def test_stages_that_read_no_asm_need_none(smoke, tmp_path):
    run, workdir = smoke(tmp_path / "work", policy="spin_warm")
    check_requirements(run, workdir, STAGES)  # it is trained
    check_requirements(run, workdir, ["data"])
    with pytest.raises(CheckpointError, match="No pre-trained ASM in"):
        check_requirements(run, workdir, ["policy"])
    check_requirements(*smoke(tmp_path / "other", policy="factored"), ["policy"])


@pytest.mark.parametrize(
    ("changes", "stages", "devices"),
    [
        ({}, STAGES[1:4], 8),
        ({"num_seeds": 4}, ["pretrain"], 8),
        ({"num_seeds": 4}, ["policy"], 2),
        ({"num_seeds": 4}, ["pretrain", "policy"], 2),
        ({"data__shards": 1}, ["policy"], 1),
        ({}, ["policy", "ope"], 1),
        ({}, ["evaluate"], 1),
    ],
)
def test_the_rows_may_be_divided_among_the_devices_of_every_stage(
    smoke, tmp_path, monkeypatch, changes, stages, devices
):
    made = requirements.make_layout
    monkeypatch.setattr(
        "spin_jax.training.mesh.jax.make_mesh",
        lambda shape, *_, **__: type("Mesh", (), {"shape": dict(zip(("seed", "data"), shape, strict=True))})(),
    )
    monkeypatch.setattr(requirements, "make_layout", lambda *sizes: made(*sizes, devices=["a device"] * 8))
    run, _ = smoke(tmp_path / "work", policy="spin_warm", train__batch_size=32, asm__batch_size=32, **changes)
    assert requirements.devices_of_rows(run, stages) == devices


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__shards": 64, "asm__batch_size": 256}, r"divide the batch of 32 rows"),
        ({"asm__batch_size": 30}, r"30 rows of a batch do not divide by 8"),
        ({"policy": "spin_distill", "spin_distill__batch_size": 30}, r"30 rows of a batch do not divide by 8"),
        ({"mesh__seed": 3, "mesh__data": 3}, r"must be the number of devices, 8"),
    ],
)
def test_what_does_not_divide_in_any_stage_is_refused_first(smoke, tmp_path, monkeypatch, changes, message):
    made = requirements.make_layout
    shape = type("Mesh", (), {"shape": {"seed": 1, "data": 8}})
    monkeypatch.setattr("spin_jax.training.mesh.jax.make_mesh", lambda *_, **__: shape())
    monkeypatch.setattr(requirements, "make_layout", lambda *sizes: made(*sizes, devices=["a device"] * 8))
    with pytest.raises(ConfigError, match=message):
        check_requirements(*smoke(tmp_path / "work", train__batch_size=32, **changes), STAGES)
    check_requirements(*smoke(tmp_path / "work", train__batch_size=32), STAGES)


def test_a_policy_to_compare_with_is_read_before_training(tmp_path, monkeypatch):
    config = main.get_config("cheetah_run:smoke")
    with pytest.raises(ConfigError, match="--against names policies for stage ope to judge, and this run has no such"):
        main.run(config, str(tmp_path / "work"), STAGES, others=["anywhere"])
    assert not (tmp_path / "work" / "config.json").exists()


def test_an_asm_that_saw_what_is_held_out_here_is_refused(smoke, dataset, tmp_path):
    """One that held out other episodes; asm.other_data accepts it, and nobody knows of ASMs of older versions."""
    made, _ = smoke(tmp_path / "made", data__held_out=0.0)
    save_asm(tmp_path / "asm", made, dataset, epoch=1)
    run, workdir = smoke(tmp_path / "work", asm__path=str(tmp_path / "asm"), data__held_out=0.2)
    asms = [member.asm for member in members(run, workdir)]
    with pytest.raises(CheckpointError, match=r"held_out is 0.0 there, 0.2 here \(--config.asm.other_data=true"):
        load_asms(run, dataset, asms)
    load_asms(dataclasses.replace(run, asm=dataclasses.replace(run.asm, other_data=True)), dataset, asms)
    load_asms(dataclasses.replace(run, data=made.data), dataset, asms)
