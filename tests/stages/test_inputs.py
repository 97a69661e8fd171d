"""A stage goes on only with the log and the ASM that it began with; what it began with is recorded when it begins."""

import dataclasses

import jax
import numpy as np
import pytest

from spin_jax.errors import WorkdirError
from spin_jax.frozen.artefact import describe, open_store, params_like
from spin_jax.frozen.load import load_asms
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.inputs import FILE
from spin_jax.registry import POLICIES
from spin_jax.stages.distill import distill
from spin_jax.stages.evaluate_policy import load_policy
from spin_jax.stages.members import inputs_of, members
from spin_jax.stages.pretrain_asm import pretrain_asm
from spin_jax.stages.stage import Stage
from spin_jax.stages.train_policy import train_policy


def judge(run, workdir, dataset):
    """As evaluation, off-policy evaluation and export load a policy."""
    return load_policy(run, members(run, workdir), dataset)


def inputs(run, workdir, dataset):
    """What a stage of this run of one seed reads now."""
    (member,) = members(run, workdir)
    asm = load_asms(run, dataset, [member.asm])[0] if POLICIES[run.policy].reads_asm else None
    return inputs_of(member, dataset, asm)


def save_asm(path, run, dataset, epoch, seed=0):
    rng, like = np.random.default_rng(seed), params_like(dataset.spec, 17, run.asm.model)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), like)
    record = {"describes": describe(run, dataset), "epoch": epoch}
    open_store(path).save(epoch, {"params": params, "normaliser": dataset.normaliser}, record)


@pytest.fixture
def begun(smoke, dataset, tmp_path):
    """begun(stage, policy, field=value) -> (run, workdir) of a stage that began with `dataset` and saved step 1."""

    def begin(name, policy="factored", **changes):
        run, workdir = smoke(tmp_path / "work", policy=policy, asm__path=str(tmp_path / "asm"), **changes)
        save_asm(tmp_path / "asm", run, dataset, epoch=3)
        stage = Stage(name, run, workdir, 1)
        stage.reads([inputs(run, workdir, dataset)])
        assert not workdir.path.exists()
        with stage:
            CheckpointStore(stage.members[0].state(name)).save(1, {"x": np.zeros(1)}, {"eval_seconds": 0.0})
        return run, workdir

    return begin


@pytest.mark.parametrize(("name", "stage"), [("pretrain", pretrain_asm), ("policy", train_policy), ("policy", judge)])
def test_another_log_is_refused_with_both_digests(begun, dataset, name, stage):
    run, workdir = begun(name, data__path="/logs/mine")
    other = dataclasses.replace(dataset, fingerprint="0123456789abcdef")
    message = (
        rf"work/{name} was trained on another log: then fingerprint \(/logs/mine, medium-expert\), now 0123456789ab "
        r"\(/logs/mine, medium-expert\)\. Put back the log that was there, or use another --workdir"
    )
    with pytest.raises(WorkdirError, match=message):
        stage(run, workdir, other)


@pytest.mark.parametrize(
    ("name", "stage", "policy"),
    [("policy", train_policy, "spin_warm"), ("policy", judge, "spin_warm"), ("distill", distill, "spin_distill")],
)
def test_another_asm_or_epoch_is_refused_with_both_digests(begun, dataset, tmp_path, name, stage, policy):
    run, workdir = begun(name, policy)
    then = inputs(run, workdir, dataset)["ASM"].digest[:12]
    save_asm(tmp_path / "asm", run, dataset, epoch=4, seed=1)  # the last epoch is another one now
    now = inputs(run, workdir, dataset)["ASM"].digest[:12]
    message = rf"then {then} \({tmp_path}/asm, epoch 3\), now {now} \({tmp_path}/asm, epoch 4\)"
    with pytest.raises(WorkdirError, match=f"work/{name} was trained on another ASM: {message}"):
        stage(run, workdir, dataset)
    save_asm(tmp_path / "asm", run, dataset, epoch=4)  # only the content counts
    Stage(name, run, workdir, 1).reads([inputs(run, workdir, dataset)])


def test_an_asm_of_other_data_is_compared_with_itself(begun, dataset, tmp_path):
    """asm.other_data accepts that the ASM knows another log, and no later change of either."""
    run, workdir = begun("policy", "spin_warm", asm__other_data=True)
    save_asm(tmp_path / "asm", run, dataclasses.replace(dataset, fingerprint="theirs"), epoch=3)
    Stage("policy", run, workdir, 1).reads([inputs(run, workdir, dataset)])
    with pytest.raises(WorkdirError, match="another log"):
        train_policy(run, workdir, dataclasses.replace(dataset, fingerprint="new"))


def test_a_stage_of_an_older_version_goes_on(begun, dataset):
    """It recorded nothing, and what it began with is not known."""
    run, workdir = begun("policy")
    path, stage = workdir.path / "policy" / FILE, Stage("policy", run, workdir, 1)
    path.unlink()
    stage.reads([inputs(run, workdir, dataclasses.replace(dataset, fingerprint="new"))])
    with stage:
        assert not path.exists()


def test_seeds_are_compared_each_with_its_own(smoke, dataset, tmp_path):
    run, workdir = smoke(tmp_path / "work", policy="factored", num_seeds=2)

    def opened(*fingerprints):
        stage = Stage("policy", run, workdir, 1)
        logs = [dataclasses.replace(dataset, fingerprint=name) for name in fingerprints]
        stage.reads([inputs_of(member, log) for member, log in zip(stage.members, logs, strict=True)])
        return stage

    with opened("one", "two") as stage:
        for member in stage.members:
            CheckpointStore(member.state("policy")).save(1, {"x": np.zeros(1)}, {})
    opened("one", "two")
    with pytest.raises(WorkdirError, match="seed_1/policy was trained on another log: then two .* now three"):
        opened("one", "three")
