"""A random log, and runs that have it."""

import numpy as np
import pytest

from configs.cheetah_run import get_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.data.dataset import Dataset
from spin_jax.record.workdir import Workdir
from spin_jax.types import ActionSpec, Transition, identity_normaliser, numbered_spaces

SPEC = ActionSpec((3,) * 6)


@pytest.fixture(scope="package")
def dataset():
    rng = np.random.default_rng(0)
    s, s_next = rng.normal(size=(2, 40, 17)).astype(np.float32)
    action = rng.integers(0, 3, (40, 6)).astype(np.int32)
    train = Transition(s, action, rng.normal(size=40).astype(np.float32), np.ones(40, np.float32), s_next)
    lengths, spaces = np.array([20, 20]), numbered_spaces(17, SPEC)
    facts = {"lengths": lengths, "probe_lengths": lengths, "probe_propensity": None, "spaces": spaces}
    return Dataset(SPEC, train, train, "held_out", identity_normaliser(17), "fingerprint", np.zeros(2), **facts)


@pytest.fixture(scope="package")
def smoke():
    """smoke(path, field=value) -> (run, workdir) of a smoke run."""

    def make(path, **changes):
        config = get_config("smoke")
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
        config = resolve(config)
        return build(config), Workdir(str(path), config)

    return make
