"""Names that the configuration may use: explicit dicts, nothing else."""

from typing import NamedTuple

from spin_jax.envs.dm_control import TASKS, DMControlEnv
from spin_jax.learners.iql import IQLConfig, make_iql
from spin_jax.policies.spin import SPINConfig, make_spin


class Entry(NamedTuple):
    """A maker, the dataclass of its settings, and the configuration section they are read from."""

    make: object
    config: type
    section: str


POLICIES = {
    "spin": Entry(make_spin, SPINConfig, "spin"),
    "spin_warm": Entry(make_spin, SPINConfig, "spin"),  # queries and heads from a full-range-masked ASM
}
LEARNERS = {"iql": Entry(make_iql, IQLConfig, "iql")}
ENVS = {name: DMControlEnv for name in TASKS}
