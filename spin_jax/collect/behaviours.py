"""The behaviour policies of every simulated task, as a plain dict."""

from spin_jax.collect.behaviour import Behaviour
from spin_jax.collect.behaviour_policy import SHIPPED
from spin_jax.collect.traffic_rules import TRAFFIC_RULES
from spin_jax.envs.tasks import DM_CONTROL

BEHAVIOURS: dict[str, Behaviour] = {**dict.fromkeys(DM_CONTROL, SHIPPED), "traffic": TRAFFIC_RULES}
