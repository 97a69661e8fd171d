"""Tasks and sizes that several studies share; a size makes five seeds of a run a matter of minutes on one core."""

from spin_jax.registry import POLICIES

EVERY_POLICY = tuple(dict.fromkeys(("factored", *POLICIES)))  # the cheapest first

PLAYED = {"eval.final_episodes": 200}  # of tasks that are played on the device; spin_decode pays for each
MAZE = {"config": "maze", "maze.actuators": 7, **PLAYED}
CHEETAH = {"config": "cheetah_run", "train.n_step": 10}
FISH = {"config": "fish_swim", "train.n_step": 10}
EIGHT_SLOTS = {"structured.slots": 8, "structured.choices": "4"}
JOINT = {"config": "structured", **EIGHT_SLOTS, "structured.dependence": 1.0, **PLAYED}

LEARNING = ("iql", "awac", "bcq", "cql", "bc")
VALUES = [f"{learner}.{net}_width" for learner in ("iql", "awac", "cql") for net in ("critic", "value")]
SMALL = {
    "data.level": "medium-expert",
    "asm.width": 32,
    "asm.num_epochs": 32,
    "asm.learning_rate": 1e-3,
    **dict.fromkeys((f"{learner}.learning_rate" for learner in LEARNING), 1e-3),
    **dict.fromkeys((*VALUES, "bcq.critic_width"), 128),
    "spin_distill.steps": 3000,
    "train.num_steps": 6000,
    "train.batch_size": 128,
    "train.checkpoint_every_steps": 3000,
    "eval.every_steps": 6000,
    "eval.episodes": 5,
}
