"""Tasks and sizes that several studies share; a size makes five seeds of a run a matter of minutes on one core."""

from spin_jax.registry import POLICIES

EVERY_POLICY = tuple(dict.fromkeys(("factored", *POLICIES)))  # the cheapest first

MAZE = {"config": "maze", "maze.actuators": 7}
CHEETAH = {"config": "cheetah_run", "train.n_step": 10}
EIGHT_SLOTS = {"structured.slots": 8, "structured.choices": 4}
JOINT = {"config": "structured", **EIGHT_SLOTS, "structured.dependence": 1.0}

VALUES = [f"{learner}.{net}_width" for learner in ("iql", "awac", "cql") for net in ("critic", "value")]
SMALL = {
    **dict.fromkeys((*VALUES, "bcq.critic_width"), 128),
    "data.level": "medium-expert",
    "asm.width": 32,
    "asm.num_epochs": 12,
    "train.num_steps": 4000,
    "train.batch_size": 128,
    "train.checkpoint_every_steps": 2000,
    "eval.every_steps": 4000,
    "eval.episodes": 5,
}
