"""The policies, learners and environments that the configuration may name, as plain dicts.

The facts of each task are in envs/tasks.py.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from spin_jax.envs.base import MakeEnv
from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.maze import MazeEnv, make_maze
from spin_jax.envs.pure import PureEnv
from spin_jax.envs.structured import StructuredEnv, make_structured
from spin_jax.envs.structured_names import LISTED, ByTask
from spin_jax.envs.tasks import DM_CONTROL, MAZES
from spin_jax.envs.traffic import TrafficEnv
from spin_jax.learners.awac import AWACConfig, make_awac
from spin_jax.learners.base import Learner, LearnerConfig
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.learners.bcq import BCQConfig, make_bcq
from spin_jax.learners.cql import CQLConfig, make_cql
from spin_jax.learners.distill import make_distiller
from spin_jax.learners.iql import IQLConfig, make_iql
from spin_jax.policies.autoregressive import AutoregressiveConfig, make_autoregressive
from spin_jax.policies.base import Policy
from spin_jax.policies.cached import CachedConfig, make_cached
from spin_jax.policies.decode import DecodeConfig, make_decode
from spin_jax.policies.distill import DistillConfig, make_distill
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.policies.spin import SPINConfig, make_spin


class PolicyEntry(NamedTuple):
    """How to make a policy, and what it needs from the rest of the program.

    make(spec, asm_config, settings) -> Policy
    config: the dataclass of its settings
    section: the section of the configuration that holds them
    reads_asm: it needs an ASM, so stage 1 runs first
    all_masked: it asks the ASM about all slots at once, so `asm.masking=auto` masks over the full range
    has_asm_heads: its settings have a field `heads`; with heads='asm' it starts from the ASM's own slot heads, that
        is, as behaviour cloning by the ASM
    implies(configuration) -> the values of other fields that the policy's name stands for
    distiller: makes the learner of a student that is trained between the two stages; None if it has no student
    """

    make: Callable[..., Policy]
    config: type
    section: str
    reads_asm: bool = True
    all_masked: bool = False
    has_asm_heads: bool = False
    implies: Callable[[ConfigDict], Mapping[str, object]] = lambda config: {}
    distiller: Callable[..., Learner] | None = None


class LearnerEntry(NamedTuple):
    """How to make a learner: make(policy, spec, settings), the dataclass of its settings, and their section.

    factored_dropout: what factored.dropout = -1 stands for; the published code has another value for BCQ
    """

    make: Callable[..., Learner]
    config: type[LearnerConfig]
    section: str
    factored_dropout: float = 0.1


def _warm(config: ConfigDict) -> Mapping[str, object]:
    """The fields of the warm start: queries and heads start as copies of the ASM's."""
    return {"spin.queries": "mask", "spin.heads": "asm", "spin.head_width": config.asm.head_width}


POLICIES = {
    "spin": PolicyEntry(make_spin, SPINConfig, "spin", has_asm_heads=True),
    "spin_warm": PolicyEntry(make_spin, SPINConfig, "spin", has_asm_heads=True, all_masked=True, implies=_warm),
    "spin_distill": PolicyEntry(
        make_distill, DistillConfig, "spin_distill", all_masked=True, has_asm_heads=True, distiller=make_distiller
    ),
    "spin_cached": PolicyEntry(make_cached, CachedConfig, "spin_cached", all_masked=True, has_asm_heads=True),
    "spin_decode": PolicyEntry(make_decode, DecodeConfig, "spin_decode", all_masked=True),
    "saint": PolicyEntry(make_saint, SAINTConfig, "saint", reads_asm=False),
    "factored": PolicyEntry(make_factored, FactoredConfig, "factored", reads_asm=False),
    "autoregressive": PolicyEntry(make_autoregressive, AutoregressiveConfig, "autoregressive", reads_asm=False),
}
LEARNERS = {
    "iql": LearnerEntry(make_iql, IQLConfig, "iql"),
    "awac": LearnerEntry(make_awac, AWACConfig, "awac"),
    "bcq": LearnerEntry(make_bcq, BCQConfig, "bcq", factored_dropout=0.0),
    "cql": LearnerEntry(make_cql, CQLConfig, "cql"),
    "bc": LearnerEntry(make_bc, BCConfig, "bc"),
}
LOG = "log"  # the task of a log of one's own: its facts are in the data set, and there is no environment
ENVS: ByTask[MakeEnv] = ByTask(
    {
        **dict.fromkeys(DM_CONTROL, DMControlEnv),
        **dict.fromkeys(MAZES, MazeEnv),
        LISTED: StructuredEnv,
        "traffic": TrafficEnv,
    }
)
# They are evaluated on the device
PURE_ENVS: ByTask[Callable[[str], PureEnv]] = ByTask({**dict.fromkeys(MAZES, make_maze), LISTED: make_structured})
