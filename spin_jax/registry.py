"""Names that the configuration may use: explicit dicts, nothing else."""

from typing import NamedTuple

from spin_jax.envs.dm_control import TASKS, DMControlEnv
from spin_jax.learners.iql import IQLConfig, make_iql
from spin_jax.policies.spin import SPINConfig, make_spin


class Entry(NamedTuple):
    """A maker, the dataclass of its settings, and the configuration section they are read from.

    Policies: make(spec, num_features, asm_config, config); reads_asm says whether stage 1 is needed. Learners:
    make(policy, spec, num_features, config).
    """

    make: object
    config: type
    section: str
    reads_asm: bool = True


POLICIES = {
    "spin": Entry(make_spin, SPINConfig, "spin"),
    "spin_warm": Entry(make_spin, SPINConfig, "spin"),  # queries and heads from a full-range-masked ASM
}
LEARNERS = {"iql": Entry(make_iql, IQLConfig, "iql")}
ENVS = {name: DMControlEnv for name in TASKS}
