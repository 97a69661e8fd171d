"""The ASM artefact that stage 1 saves and stage 2 loads: arrays, and a record of everything that must match."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import LogFacts
from spin_jax.errors import CheckpointError
from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.record.checkpoint import CheckpointStore, digest, flatten
from spin_jax.record.workdir import flat
from spin_jax.registry import POLICIES
from spin_jax.types import ActionSpec, Normaliser, identity_normaliser

DATA_FIELDS = ("level", "fingerprint", "held_out")  # config.asm.other_data accepts differences in these
WAY_OUT = (
    "take another epoch with --config.asm.epoch (in another --workdir), or delete that directory: the command that "
    "pre-trained this ASM, run again without --stage, saves the last epoch anew, and the others if its folders asm and "
    "pretrain are both deleted"
)


class FrozenASM(NamedTuple):
    """Parameters of a pre-trained ASM, the normaliser of its observations, and its record."""

    params: Any
    normaliser: Normaliser
    record: dict

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters and the normaliser."""
        return digest(flatten((self.params, self.normaliser)))


def open_store(path: str | pathlib.Path) -> CheckpointStore:
    """The checkpoint store of an ASM artefact; each kept epoch is one numbered checkpoint."""
    return CheckpointStore(pathlib.Path(path).expanduser(), keep=None, way_out=WAY_OUT)


def find_epoch(path: pathlib.Path, epoch: int | None) -> int:
    """The epoch to load from the ASM artefact in `path`: the one that is asked for or, for None, the last one.

    Raises CheckpointError if it is not there, or if None is asked for while stage 1 of that ASM has not ended. ASMs of
    versions that did not record the number of epochs are taken as they are.
    """
    store = open_store(path)
    if not store.steps():
        raise CheckpointError(
            f"No pre-trained ASM in {path}: the directory is missing or is not an ASM artefact. "
            f"Run --stage=pretrain first, or point --config.asm.path at one."
        )
    record = store.record(epoch)
    found, whole = store.steps()[-1] if epoch is None else epoch, record.get("num_epochs", 0)
    if epoch is None and found < whole:
        raise CheckpointError(
            f"The ASM in {path} is not finished: its stage 1 has reached epoch {found} of {whole}. End stage 1 (the "
            f"command that began it, without --stage), or take this epoch by name in another workdir: "
            f"--workdir=ANOTHER_DIRECTORY --config.asm.path={path} --config.asm.epoch={found}"
        )
    return found


def describe(run: RunConfig, dataset: LogFacts) -> dict:
    """The description that stage 1 of this run saves with its ASM, and that stage 2 expects of the ASM it loads.

    The precision is not part of it: an ASM's parameters are always float32.
    """
    architecture = dataclasses.asdict(run.asm.model)
    del architecture["body"]["dtype"]
    return {
        "task": run.task,
        "bins": run.bins,
        "num_features": dataset.num_features,
        "cardinalities": list(dataset.spec.cardinalities),
        "architecture": architecture,
        "normalise": run.data.normalise,
        "level": run.data.level,
        "fingerprint": dataset.fingerprint,
        "held_out": run.data.held_out,
    }


def params_like(spec: ActionSpec, num_features: int, config: ASMConfig) -> Any:
    """Shapes and dtypes of an ASM's parameters; nothing is computed."""
    blank = jnp.zeros((1, num_features)), jnp.zeros((1, spec.num_slots), jnp.int32)
    return jax.eval_shape(lambda: ASM(spec, config).init(jax.random.key(0), *blank))["params"]


def asm_like(spec: ActionSpec, num_features: int, config: ASMConfig) -> Any:
    """Shapes and dtypes of all arrays of an ASM artefact."""
    normaliser = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, identity_normaliser(num_features)))
    return {"params": params_like(spec, num_features, config), "normaliser": normaliser}


def load_asm(path: pathlib.Path, epoch: int | None, run: RunConfig, dataset: LogFacts) -> FrozenASM:
    """Loads an ASM (epoch None: the last one) after comparing its record with `describe(run, dataset)` field by field.

    Raises CheckpointError as `find_epoch` does, and one that names the first field that differs, with both values, or
    the damaged file; also for an ASM that never saw all slots masked, which the policy asks for. What an ASM of an
    older version held out is not known, and not compared.
    """
    store, expected, epoch = open_store(path), describe(run, dataset), find_epoch(path, epoch)
    record = store.record(epoch)
    found, need = flat({"held_out": run.data.held_out} | record.get("describes", {})), flat(expected)
    for name in need:
        if name in DATA_FIELDS and run.asm.other_data:
            continue
        if found.get(name) != need[name]:
            hint = " (--config.asm.other_data=true accepts it)" if name in DATA_FIELDS else ""
            raise CheckpointError(
                f"The ASM in {path} does not fit this run: {name} is {found.get(name)!r} there, "
                f"{need[name]!r} here{hint}."
            )
    masking = record.get("masking", run.asm.masking)  # ASMs of older versions say nothing
    if POLICIES[run.policy].all_masked and masking != run.asm.masking == "full_range":
        raise CheckpointError(
            f"The ASM in {path} was masked {masking}, and policy {run.policy} asks it about all slots at once, which "
            f"it has hardly seen. Take an ASM with asm.masking=full_range, or this one all the same: "
            f"--config.asm.masking={masking}"
        )
    loaded = store.restore(asm_like(dataset.spec, dataset.num_features, run.asm.model), epoch)
    return FrozenASM(loaded["params"], loaded["normaliser"], record)
