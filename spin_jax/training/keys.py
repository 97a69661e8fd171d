"""Named streams of random keys: everything random in a run follows from (run seed, NAMED stream, step).

In JAX `split(key)[i] == fold_in(key, i)`: splitting a key in one place and folding small numbers into it in another
gives equal keys. So a stream's key is made by folding in a hash of its name, which is a large number. Each kind of key
below a stream has one function here that makes it.
"""

import hashlib

import jax

STREAMS = (
    "pretrain/init",
    "pretrain/loop",
    "pretrain/probe",  # which slots are masked for the metrics of the ASM
    "distill/init",
    "distill/loop",
    "policy/init",
    "policy/loop",
    "evaluate/episodes",  # the environments' starts
    "evaluate/actions",
    "behaviour/init",
    "behaviour/symmetry",  # which transitions are mirrored, and by what angle each is turned
    "ope/clone",
    "ope/fit",
    "ope/draws",  # actions of the judged policies in the states of the log
    "estimate",  # for the timed steps of the estimate, on random arrays
)


def number(name: str) -> int:
    """The number of a stream, in [0, 2^32); raises ValueError if STREAMS does not list it."""
    if name not in STREAMS:
        raise ValueError(f"{name!r} is no stream; known streams: {', '.join(STREAMS)}.")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def stream(seed: int, name: str) -> jax.Array:
    """The key of a stream in the run with this seed."""
    return jax.random.fold_in(jax.random.key(seed), number(name))


def step_keys(stream_key: jax.Array, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """The two keys of a gradient step: (key to draw the batch, key for the update)."""
    batch_key, update_key = jax.random.split(jax.random.fold_in(stream_key, step))
    return batch_key, update_key


def action_key(stream_key: jax.Array, step: jax.Array | int, t: jax.Array | int) -> jax.Array:
    """The key for the actions of control step t in the evaluation after `step` gradient steps."""
    return jax.random.fold_in(jax.random.fold_in(stream_key, step), t)
