"""Stage 1 starts from the body of an ASM of another task, and of nothing else."""

import jax
import numpy as np
import pytest
from smoke_runs import arrays

from spin_jax.errors import CheckpointError, WorkdirError
from spin_jax.frozen.artefact import describe, open_store
from spin_jax.models.asm import ASM
from spin_jax.record.checkpoint import flatten
from spin_jax.stages.pretrain_asm import pretrain_asm
from spin_jax.types import ActionSpec, identity_normaliser

OTHER = ActionSpec((5, 2, 4, 3))  # slots, choices and features that the run's task does not have


def save_other_asm(path, run, dataset, seed=0, epochs=1):
    """Saves an ASM of OTHER and 3 features, finished or not; returns its parameters."""
    asm = ASM(OTHER, run.asm.model)
    params = asm.init(jax.random.key(seed), np.zeros((1, 3), np.float32), np.zeros((1, OTHER.num_slots), np.int32))[
        "params"
    ]
    described = describe(run, dataset) | {"num_features": 3, "cardinalities": list(OTHER.cardinalities)}
    record = {"describes": described, "epoch": 1, "num_epochs": epochs}
    open_store(path).save(1, {"params": params, "normaliser": identity_normaliser(3)}, record)
    return params


@pytest.fixture
def sizes(smoke, tmp_path):
    return {"asm__body_path": str(tmp_path / "other"), "asm__num_epochs": 1}


def test_the_body_is_that_of_the_other_asm_and_the_rest_is_new(smoke, dataset, tmp_path, sizes):
    run, workdir = smoke(tmp_path / "run", **sizes)
    body = save_other_asm(tmp_path / "other", run, dataset)["body"]
    pretrain_asm(run, workdir, dataset)
    plain_run, plain = smoke(tmp_path / "plain", asm__num_epochs=1)
    pretrain_asm(plain_run, plain, dataset)
    found, fresh = arrays(workdir.asm, 0), arrays(plain.asm, 0)
    theirs = flatten({"params": {"body": body}})
    assert theirs.keys() < found.keys()
    assert found.keys() == fresh.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, theirs.get(name, fresh[name]), err_msg=name)
    assert any((theirs[name] != fresh[name]).any() for name in theirs)
    assert open_store(workdir.asm).record()["epoch"] == 1
    save_other_asm(tmp_path / "other", run, dataset, seed=1)
    with pytest.raises(WorkdirError, match="body"):  # the run began with another one
        pretrain_asm(run, workdir, dataset)


def test_a_folder_of_other_checkpoints_is_no_asm(smoke, dataset, tmp_path, sizes):
    run, workdir = smoke(tmp_path / "run", **sizes)
    open_store(tmp_path / "other").save(1, {"a": np.zeros(2)}, {"epoch": 1})
    with pytest.raises(CheckpointError, match="other holds checkpoints, but of no ASM; name the folder `asm`"):
        pretrain_asm(run, workdir, dataset)


def test_a_body_of_another_size_and_one_that_is_not_finished_are_refused(smoke, dataset, tmp_path, sizes):
    run, workdir = smoke(tmp_path / "run", **sizes)
    save_other_asm(tmp_path / "other", run, dataset, epochs=2)
    with pytest.raises(CheckpointError, match="not finished"):
        pretrain_asm(run, workdir, dataset)
    wider, _ = smoke(tmp_path / "wider", asm__width=2 * run.asm.width)
    save_other_asm(tmp_path / "wide", wider, dataset)
    run, workdir = smoke(tmp_path / "narrow", **sizes | {"asm__body_path": str(tmp_path / "wide")})
    with pytest.raises(CheckpointError, match=f"wide does not fit this run: width is {2 * run.asm.width} there"):
        pretrain_asm(run, workdir, dataset)
    run, workdir = smoke(tmp_path / "none", **sizes | {"asm__body_path": str(tmp_path / "nowhere")})
    with pytest.raises(CheckpointError, match="No pre-trained ASM in .*nowhere"):
        pretrain_asm(run, workdir, dataset)
    assert not workdir.path.exists()
