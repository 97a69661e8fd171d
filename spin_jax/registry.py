"""Names that the configuration may use: explicit dicts, nothing else."""

from collections.abc import Callable
from typing import NamedTuple

from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.tasks import TASKS
from spin_jax.learners.awac import AWACConfig, make_awac
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.learners.bcq import BCQConfig, make_bcq
from spin_jax.learners.cql import CQLConfig, make_cql
from spin_jax.learners.distill import make_distiller
from spin_jax.learners.iql import IQLConfig, make_iql
from spin_jax.policies.autoregressive import AutoregressiveConfig, make_autoregressive
from spin_jax.policies.cached import CachedConfig, make_cached
from spin_jax.policies.decode import DecodeConfig, make_decode
from spin_jax.policies.distill import DistillConfig, make_distill
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.policies.spin import SPINConfig, make_spin


class Entry(NamedTuple):
    """A maker, the dataclass of its settings, and the configuration section they are read from.

    Policies: make(spec, num_features, asm_config, config); reads_asm: stage 1 is needed; all_masked: the policy asks
    the ASM about all slots at once, so `asm.masking=auto` masks over the full range; distiller: makes the learner of a
    student between the stages, where there is one. Learners: make(policy, spec, num_features, config).
    """

    make: object
    config: type
    section: str
    reads_asm: bool = True
    all_masked: bool = False
    distiller: Callable | None = None


POLICIES = {
    "spin": Entry(make_spin, SPINConfig, "spin"),
    "spin_warm": Entry(make_spin, SPINConfig, "spin", all_masked=True),  # queries and heads start from the ASM's
    "spin_distill": Entry(make_distill, DistillConfig, "spin_distill", all_masked=True, distiller=make_distiller),
    "spin_cached": Entry(make_cached, CachedConfig, "spin_cached", all_masked=True),
    "spin_decode": Entry(make_decode, DecodeConfig, "spin_decode", all_masked=True),
    "saint": Entry(make_saint, SAINTConfig, "saint", reads_asm=False),
    "factored": Entry(make_factored, FactoredConfig, "factored", reads_asm=False),
    "autoregressive": Entry(make_autoregressive, AutoregressiveConfig, "autoregressive", reads_asm=False),
}
LEARNERS = {
    "iql": Entry(make_iql, IQLConfig, "iql"),
    "awac": Entry(make_awac, AWACConfig, "awac"),
    "bcq": Entry(make_bcq, BCQConfig, "bcq"),
    "cql": Entry(make_cql, CQLConfig, "cql"),
    "bc": Entry(make_bc, BCConfig, "bc"),
}
ENVS = {name: DMControlEnv for name in TASKS}
