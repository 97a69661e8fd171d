"""The behaviour policies of every simulated task, as a plain dict."""

from spin_jax.collect.behaviour import Behaviour
from spin_jax.collect.behaviour_policy import SHIPPED
from spin_jax.collect.maze_planner import MAZE_PLANNER
from spin_jax.collect.traffic_rules import TRAFFIC_RULES
from spin_jax.envs.tasks import DM_CONTROL, MAZES

BEHAVIOURS: dict[str, Behaviour] = {
    **dict.fromkeys(DM_CONTROL, SHIPPED),
    **dict.fromkeys(MAZES, MAZE_PLANNER),
    "traffic": TRAFFIC_RULES,
}
