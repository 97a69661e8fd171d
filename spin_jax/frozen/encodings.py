"""Computes z(s) of the whole log once, for a policy that encodes observations, and keeps it beside its ASM."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from spin_jax.data.memory import free_memory
from spin_jax.data.stream import TransitionStream
from spin_jax.errors import ConfigError, DataError
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.policies.base import Policy, encoded
from spin_jax.policies.cached import packed
from spin_jax.record.checkpoint import digest
from spin_jax.record.files import replacing, write_json
from spin_jax.record.inputs import file_digest
from spin_jax.record.processes import first
from spin_jax.record.progress import Progress, log
from spin_jax.types import Transition

ENCODE_ROWS = 4096  # transitions encoded in one program


def encode_log(
    policy: Policy,
    asm: FrozenASM,
    data: Transition | TransitionStream,
    encodings_dir: pathlib.Path,
    fingerprint: str,
    n_step: int,
    devices: int = 1,
) -> Transition | TransitionStream:
    """Adds x of every state, as packed bfloat16, to `data`; returns `data` if the policy has no encoder.

    data: numpy arrays with normalised observations; x is read from its file as it is needed. n_step: how many steps s'
    comes after s; 0 = the learner does not use s'. x is computed once, in chunks, by process 0, and kept in
    `encodings_dir` under a key of ASM, log, the states themselves and the precision, if that folder can be written,
    with a checksum; a file that does not match its checksum is computed anew. devices: accelerators among which the
    rows may be divided. Raises DataError with the sizes if x does not fit into memory, and ConfigError for a log that
    streams.
    """
    if policy.encode is None:
        return data
    if isinstance(data, TransitionStream):
        raise ConfigError("z(s) of the whole log is kept on the device: this policy needs data.mode='memory'.")
    compiled = jax.jit(lambda frozen, observation: packed(encoded(policy, frozen, observation)))
    encode = functools.partial(compiled, asm.params)
    z = jax.eval_shape(functools.partial(encoded, policy), asm.params, data.observation)
    _check_room((2 if n_step else 1) * 2 * int(np.prod(z.shape)), devices)
    states = digest({"observation": data.observation})  # without those that are held out
    facts = [asm.digest, asm.record["describes"], fingerprint, states, z.dtype.name]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = encodings_dir / f"{key}.npy"
    x = _encoded(path, encode, data.observation, z.shape)
    after = path.with_suffix(f".{n_step}.npy")
    next_x = _encoded(after, encode, data.next_observation, z.shape) if n_step else None
    return data._replace(x=x, next_x=next_x)


def _check_room(need: int, devices: int):
    """Raises DataError if fewer than `need` bytes are free, on all of the accelerators together if there are any."""
    free = free_memory()
    place = "accelerator" if "accelerator" in free else "host"
    need = need // devices if place == "accelerator" else need
    if need > free.get(place, need):
        raise DataError(
            f"z(s) of the whole log takes {need / 1e9:.1f} GB of the {place}, where {free[place] / 1e9:.1f} GB are "
            f"free. Use fewer transitions (data.level='expert[:50%]'), a smaller asm.width, or policy spin_warm."
        )


def _encoded(path: pathlib.Path, encode: Callable, observation: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """encode(observation) [T, N, D] uint16, read from `path`, or computed and, if that folder can be written, kept."""
    if first(lambda: _keep(path, encode, observation, shape), "encodes the log"):
        return np.load(path, mmap_mode="r")
    return np.concatenate(list(_parts(encode, observation, shape[0])))


def _keep(path: pathlib.Path, encode: Callable, observation: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Writes the encodings to `path`, unless they are there; False if the folder cannot be written."""
    if _is_intact(path):
        log.info(f"policy: z(s) of {shape[0]} transitions from {path}")
        return True
    if path.exists():
        log.warning(f"policy: {path} has no checksum or another one than when it was written; computing z(s) anew")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": shape})
            for part in _parts(encode, observation, shape[0]):
                file.write(part.data)
        facts = {"what": "z(s), bfloat16 as uint16", "shape": shape, "sha256": file_digest(path)}
        write_json(path.with_suffix(".json"), facts)
    except OSError as error:
        log.info(f"policy: z(s) is not kept, because {path.parent} cannot be written ({error.strerror}).")
        return False
    return True


def _is_intact(path: pathlib.Path) -> bool:
    """Whether the file has the SHA-256 that stands in the JSON file beside it."""
    try:
        return json.loads(path.with_suffix(".json").read_text())["sha256"] == file_digest(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _parts(encode: Callable, observation: np.ndarray, total: int) -> Iterator[np.ndarray]:
    """encode(observation) in parts of ENCODE_ROWS rows, with its progress."""
    rows = min(ENCODE_ROWS, total)
    with Progress("policy: z(s) of the log", total, unit="transition") as progress:
        for begin in range(0, total, rows):
            start = min(begin, total - rows)  # the last part overlaps, so that one program serves all
            yield np.ascontiguousarray(np.asarray(encode(observation[start : start + rows]))[begin - start :])
            progress.update(min(begin + rows, total))
