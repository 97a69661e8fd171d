"""The format jax: programs of `jax.export` for CPU, CUDA and TPU and for any batch size, with their arrays beside them.

JAX promises to read such a program for six months after it was written. A workdir has no such limit.
"""

import pathlib
from collections.abc import Callable
from typing import BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import Var

from spin_jax.errors import DataError
from spin_jax.export.archive import PROGRAM, write_archive
from spin_jax.export.trained import Trained
from spin_jax.record.checkpoint import flatten

PLATFORMS = ("cpu", "cuda", "tpu")


def write_jax(file: BinaryIO, trained: Trained) -> None:
    """Writes the archive: a program `act`, perhaps one `probabilities`, and the arrays that they read, by name."""
    values, tree = flatten(trained.arrays), jax.tree.structure(trained.arrays)
    (batch,) = export.symbolic_shape("batch")
    inputs = [
        jax.ShapeDtypeStruct((batch, width), jnp.float32)
        for width in (trained.interface.num_features, trained.greedy_noise.size)
    ]

    def by_name(function: Callable) -> Callable:
        """The function of {name: array}; an array that is not given is one that only dead code reads."""

        def call(arrays, *rest):
            leaves = [arrays.get(name, jnp.zeros(value.shape, value.dtype)) for name, value in values.items()]
            return function(jax.tree.unflatten(tree, leaves), *rest)

        return call

    act, probabilities = trained.functions()
    programs, used = {"act": export_program(by_name(act), values, inputs)}, dict[str, jax.Array]()
    if probabilities is not None:
        programs["probabilities"] = export_program(by_name(probabilities), values, inputs[:1])
    for _, read in programs.values():
        used |= read
    # a program that gets one array too many is refused when it is called, so each names its own
    header = trained.header | {"format": "jax", "reads": {name: sorted(read) for name, (_, read) in programs.items()}}
    blobs = {f"{PROGRAM}{name}": np.frombuffer(blob, np.uint8) for name, (blob, _) in programs.items()}
    write_archive(file, header, {name: np.asarray(value) for name, value in used.items()} | blobs)


def export_program(
    function: Callable, values: dict[str, jax.Array], inputs: list
) -> tuple[bytes, dict[str, jax.Array]]:
    """(program, the arrays that it reads) of function(arrays by name, *inputs)."""
    jaxpr = jax.make_jaxpr(function)(values, *inputs).jaxpr
    live = set(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):  # from the results backwards: whatever a live value is made from is live
        if live & set(equation.outvars):
            live |= {x for x in equation.invars if isinstance(x, Var)}
    names = zip(sorted(values), jaxpr.invars, strict=False)  # the leaves of a dict are sorted; the inputs follow them
    read = {name: values[name] for name, variable in names if variable in live}
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(read, *inputs).serialize()), read


def read_jax(path: pathlib.Path, header: dict) -> tuple[Callable, Callable | None]:
    """(act, probabilities) of an archive: observation [B, S], noise [B, G] -> [B, N]; observation -> [B, N, K] or None.

    Raises DataError if this version of JAX no longer reads the programs.
    """
    with np.load(path, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}

    def program(name: str) -> Callable:
        arrays = {array: jnp.asarray(stored[array]) for array in header["reads"][name]}
        try:
            call = jax.jit(export.deserialize(bytearray(stored[PROGRAM + name].tobytes())).call)
        except Exception as error:
            raise DataError(
                f"{path} holds a program of JAX {header['versions']['jax']} that JAX {jax.__version__} does not read "
                f"({error}): export the policy again."
            ) from error
        return lambda *inputs: np.asarray(call(arrays, *inputs))

    return program("act"), program("probabilities") if "probabilities" in header["reads"] else None
