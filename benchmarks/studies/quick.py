"""cheetah-run in the settings of preset quick: every policy with IQL, and three policies with every learner."""

from benchmarks.studies.tasks import EVERY_POLICY
from benchmarks.study_base import Study, grid
from spin_jax.registry import LEARNERS

OTHERS = tuple(name for name in LEARNERS if name != "iql")

STUDIES = [
    Study(
        name="quick",
        question="What do all policies and learners reach on cheetah-run in minutes?",
        runs=[
            *grid(config=("cheetah_run",), learner=("iql",), policy=EVERY_POLICY),
            *grid(config=("cheetah_run",), learner=OTHERS, policy=("saint", "spin", "factored")),
        ],
        size={},
        x="learner",
        seeds=3,
    )
]
