"""The body of an ASM of another log or another task, as the start of a new ASM.

The body works on tokens of any number and meaning; state encoder, tables and heads belong to a log's features and
slots, and begin anew.
"""

import dataclasses
import pathlib
from typing import Any

from spin_jax.errors import CheckpointError
from spin_jax.frozen.artefact import asm_like, find_epoch, open_store
from spin_jax.learners.base import Learner
from spin_jax.models.asm import ASMConfig
from spin_jax.models.transformer import BodyConfig
from spin_jax.types import ActionSpec


def load_body(path: pathlib.Path, config: BodyConfig) -> Any:
    """The parameters of the body of the ASM in `path`, of its last epoch.

    Raises CheckpointError as `find_epoch` does, if the file is damaged, or if the body has another size than `config`.
    """
    store, epoch = open_store(path), find_epoch(path, None)
    described = store.record(epoch).get("describes", {})
    if "architecture" not in described:
        raise CheckpointError(f"{path} holds checkpoints, but of no ASM; name the folder `asm` of a workdir.")
    architecture = dict(described["architecture"])
    theirs = architecture.pop("body")
    for name, ours in dataclasses.asdict(config).items():
        if name not in ("dtype", "dropout") and theirs[name] != ours:
            raise CheckpointError(
                f"The body of the ASM in {path} does not fit this run: {name} is {theirs[name]!r} there, {ours!r} here."
            )
    asm, spec = ASMConfig(BodyConfig(**theirs), **architecture), ActionSpec(tuple(described["cardinalities"]))
    like = asm_like(spec, described["num_features"], asm)
    return store.restore(like, epoch)["params"]["body"]


def starting_from(body: Any, learner: Learner) -> Learner:
    """The learner of an ASM whose states begin with this body."""

    def init(key, frozen, observation):
        state = learner.init(key, frozen, observation)
        return state._replace(params=state.params | {"body": body})

    return learner._replace(init=init)
