"""DM Control in the sizes of preset quick: the policies of README's table on six tasks, every learner on cheetah-run.

All logs are mixed, so ASMs are trained on the better half of the episodes, as docs/choosing.md advises for them.
"""

from benchmarks.study_base import Study, grid
from spin_jax.registry import LEARNERS

SIX = ("finger_spin", "fish_swim", "cheetah_run", "quadruped_walk", "humanoid_stand", "dog_trot")
POLICIES = ("factored", "spin_decode", "spin_warm", "spin_cached", "spin", "saint")  # the cheapest first
CLONES = [{"policy": policy, "learner": "bc", "bc.top_fraction": 0.25} for policy in ("factored", "spin_warm")]
MIXED = {"data.level": "medium-expert", "asm.top_fraction": 0.5}

STUDIES = [
    Study(
        name="six_tasks",
        question="What do SPIN, its variants, SAINT, a product and clones reach on DM Control in minutes?",
        runs=[*grid(config=SIX, clones=CLONES), *grid(config=SIX, learner=("iql",), policy=POLICIES)],
        size=MIXED,
        x="config",
        line=("policy", "bc.top_fraction"),
        seeds=3,
    ),
    Study(
        name="learners",
        question="What does every learner reach on cheetah-run in minutes?",
        runs=grid(config=("cheetah_run",), learner=tuple(LEARNERS), policy=("saint", "spin", "factored")),
        size=MIXED,
        x="learner",
        seeds=3,
    ),
]
