"""Mazes of 3 to 15 actuators: every policy with the three published learners."""

from benchmarks.studies.tasks import EVERY_POLICY, PLAYED, SMALL
from benchmarks.study_base import Study, grid

STUDIES = [
    Study(
        name="maze",
        question="Do all policies end close together in the mazes, as in the paper, however many actuators there are?",
        runs=grid(
            config=("maze",), maze__actuators=(3, 5, 7, 10, 12, 15), learner=("iql", "awac", "bcq"), policy=EVERY_POLICY
        ),
        size=SMALL | PLAYED,
        x="maze.actuators",
        panel=("learner",),
        pooled=True,
    )
]
