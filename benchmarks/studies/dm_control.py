"""DM Control in the sizes of preset quick: every policy on all six tasks, and every learner on cheetah-run.

All logs are mixed, so ASMs are trained on the better half of the episodes, as docs/choosing.md advises for them.
"""

from benchmarks.studies.tasks import EVERY_POLICY
from benchmarks.study_base import Study, grid
from spin_jax.registry import LEARNERS

SIX = ("finger_spin", "fish_swim", "cheetah_run", "quadruped_walk", "humanoid_stand", "dog_trot")
CLONING = {"policy": "factored", "learner": "bc", "bc.top_fraction": 0.25}
MIXED = {"data.level": "medium-expert", "asm.top_fraction": 0.5}

STUDIES = [
    Study(
        name="six_tasks",
        question="What does every policy reach on the six tasks of DM Control in minutes?",
        runs=[*grid(config=SIX, cloning=(CLONING,)), *grid(config=SIX, learner=("iql",), policy=EVERY_POLICY)],
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
