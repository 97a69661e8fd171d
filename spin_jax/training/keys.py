"""Named streams of random keys: everything random in a run follows from (run seed, NAMED stream, step).

In JAX `split(key)[i] == fold_in(key, i)`: splitting a key in one place and folding small numbers into it in another
gives equal keys. So a stream is made by folding in a hash of its name, which is no small number, and the keys below a
stream are made by the functions here, one way each.
"""

import hashlib

import jax

STREAMS = (
    "pretrain/init",
    "pretrain/loop",
    "pretrain/held_out",  # which slots are masked for the held-out metrics
    "distill/init",
    "distill/loop",
    "policy/init",
    "policy/loop",
    "evaluate/episodes",  # the environments' starts
    "evaluate/actions",
    "behaviour/init",
    "estimate",  # of random arrays that are timed
)


def number(name: str) -> int:
    """The number of a stream, in [0, 2^32); raises ValueError where STREAMS does not name it."""
    if name not in STREAMS:
        raise ValueError(f"{name!r} is no stream; known streams: {', '.join(STREAMS)}.")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def stream(seed: int, name: str) -> jax.Array:
    """The key of a stream of a run."""
    return jax.random.fold_in(jax.random.key(seed), number(name))


def step_keys(stream_key: jax.Array, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """(for drawing the batch, for the update) of a gradient step."""
    batch_key, update_key = jax.random.split(jax.random.fold_in(stream_key, step))
    return batch_key, update_key


def action_key(stream_key: jax.Array, step: jax.Array | int, t: jax.Array | int) -> jax.Array:
    """For the actions of control step t in the evaluation after `step` gradient steps."""
    return jax.random.fold_in(jax.random.fold_in(stream_key, step), t)
