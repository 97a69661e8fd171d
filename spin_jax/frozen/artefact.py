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
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.workdir import flat
from spin_jax.types import ActionSpec, Normaliser, identity_normaliser

DATA_FIELDS = ("level", "fingerprint")  # config.asm.other_data accepts differences in these


class FrozenASM(NamedTuple):
    """Parameters of a pre-trained ASM, the normaliser of its observations, and its record."""

    params: Any
    normaliser: Normaliser
    record: dict


def open_store(path: str | pathlib.Path) -> CheckpointStore:
    """The checkpoint store of an ASM artefact; each kept epoch is one numbered checkpoint."""
    return CheckpointStore(pathlib.Path(path).expanduser(), keep=None)


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
    }


def params_like(spec: ActionSpec, num_features: int, config: ASMConfig) -> Any:
    """Shapes and dtypes of an ASM's parameters; nothing is computed."""
    blank = jnp.zeros((1, num_features)), jnp.zeros((1, spec.num_slots), jnp.int32)
    return jax.eval_shape(lambda: ASM(spec, config).init(jax.random.key(0), *blank))["params"]


def load_asm(path: pathlib.Path, epoch: int | None, run: RunConfig, dataset: LogFacts) -> FrozenASM:
    """Loads an ASM (epoch None: the last one) after comparing its record with `describe(run, dataset)` field by field.

    Raises CheckpointError that names the first field that differs, with both values, or the missing or damaged file.
    """
    store, expected = open_store(path), describe(run, dataset)
    if not store.steps():
        raise CheckpointError(
            f"No pre-trained ASM in {path}: the directory is missing or is not an ASM artefact. "
            f"Run --stage=pretrain first, or point --config.asm.path at one."
        )
    record = store.record(epoch)
    found, need = flat(record.get("describes", {})), flat(expected)
    for name in need:
        if name in DATA_FIELDS and run.asm.other_data:
            continue
        if found.get(name) != need[name]:
            hint = " (--config.asm.other_data=true accepts it)" if name in DATA_FIELDS else ""
            raise CheckpointError(
                f"The ASM in {path} does not fit this run: {name} is {found.get(name)!r} there, "
                f"{need[name]!r} here{hint}."
            )
    normaliser = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, identity_normaliser(dataset.num_features)))
    like = {"params": params_like(dataset.spec, dataset.num_features, run.asm.model), "normaliser": normaliser}
    loaded = store.restore(like, epoch)
    return FrozenASM(loaded["params"], loaded["normaliser"], record)
