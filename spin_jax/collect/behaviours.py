"""The behaviour policies of every simulated task, in a table."""

from spin_jax.collect.behaviour import Behaviour
from spin_jax.collect.behaviour_policy import SHIPPED
from spin_jax.collect.maze_planner import MAZE_PLANNER
from spin_jax.collect.structured_levels import STRUCTURED_LEVELS
from spin_jax.collect.traffic_rules import TRAFFIC_RULES
from spin_jax.envs.structured_names import LISTED, ByTask
from spin_jax.envs.tasks import DM_CONTROL, MAZES

BEHAVIOURS: ByTask[Behaviour] = ByTask(
    {
        **dict.fromkeys(DM_CONTROL, SHIPPED),
        **dict.fromkeys(MAZES, MAZE_PLANNER),
        LISTED: STRUCTURED_LEVELS,
        "traffic": TRAFFIC_RULES,
    }
)
