"""No random key is used twice in a run, and none is made outside of the named streams."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spin_jax
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.vector import episode_seed
from spin_jax.evaluation.evaluator import evaluation_seed
from spin_jax.training.keys import STREAMS, action_key, number, step_keys, stream

SEEDS, STEPS, CONTROL_STEPS = range(10), jnp.arange(1001), jnp.arange(20)
PACKAGE = pathlib.Path(spin_jax.__file__).parent
# draws that are the same in every call on purpose, and keys of which only the shape is read
FIXED = {"policies/decode.py", "learners/bcq.py", "models/unmasking.py", "frozen/artefact.py", "learners/base.py"}
FIXED |= {"training/keys.py", "training/fits.py"}


def words(keys: jax.Array) -> np.ndarray:
    """Keys of any shape as numbers [count]."""
    pair = np.asarray(jax.random.key_data(keys)).reshape(-1, 2).astype(np.uint64)
    return pair[:, 0] << np.uint64(32) | pair[:, 1]


def keys_of(seed: int, name: str) -> list[np.ndarray]:
    """Every key that a stream hands out in a run of 1000 gradient steps, and those that are split from them first."""
    key = stream(seed, name)
    if name.endswith("/loop"):
        batch, update = jax.vmap(lambda step: step_keys(key, step))(STEPS)
        return [words(batch), words(update), words(jax.vmap(lambda k: jax.random.split(k, 3))(update))]
    if name == "evaluate/actions":
        at = jax.vmap(lambda step: jax.vmap(lambda t: action_key(key, step, t))(CONTROL_STEPS))
        return [words(at(STEPS))]
    if name.endswith("/init"):
        return [words(key), words(jax.random.split(key, 6))]
    return [words(key)]


def test_no_key_of_a_run_occurs_twice():
    """Both stages, distillation, evaluation and behaviour training, seeds 0 to 9, steps 0 to 1000."""
    found = [keys for seed in SEEDS for name in STREAMS for keys in keys_of(seed, name)]
    together = np.concatenate(found)
    assert len(together) > 300_000
    assert len(np.unique(together)) == len(together)


def test_small_numbers_next_to_a_split_would_collide():
    """Why streams have names: what the test above would find without them."""
    key = jax.random.key(0)
    assert words(jax.random.fold_in(key, 1)) == words(jax.random.split(key)[1])


def test_stream_names_have_different_numbers_and_others_are_refused():
    assert len({number(name) for name in STREAMS}) == len(STREAMS)
    assert min(number(name) for name in STREAMS) > 10**6  # no small number, such as a step
    with pytest.raises(ValueError, match="'policy/lop' is no stream; known streams: pretrain/init"):
        stream(0, "policy/lop")


def test_evaluation_starts_from_no_episode_of_the_log():
    """Roll-outs of the data seeds 0 to 9 at the published size, evaluations of the run seeds 0 to 9."""
    levels = len(TASKS["cheetah_run"].levels)
    logged = {episode_seed(seed * levels + at, i) for seed in SEEDS for at in range(levels) for i in range(1000)}
    played = [evaluation_seed(seed, i) for seed in SEEDS for i in range(100)]
    assert len(set(played)) == len(played)
    assert not logged & set(played)


def test_keys_are_made_by_the_streams_alone():
    makers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("key", "PRNGKey") and "random" in ast.dump(node.value):
                makers.add(str(path.relative_to(PACKAGE)))
    assert makers <= FIXED
    assert "training/keys.py" in makers
