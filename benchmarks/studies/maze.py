"""Mazes of 3 to 15 actuators: every policy with the three published learners.

spin_decode has IQL alone: every update of the others asks its draws, so it would take most of the study's hours. It is
played in 50 episodes at the end, the others in 200: nearly all of its time goes into them.
"""

from benchmarks.studies.tasks import EVERY_POLICY, PLAYED, SMALL
from benchmarks.study_base import Study, grid

ACTUATORS = (3, 5, 7, 10, 12, 15)
OTHERS = tuple(name for name in EVERY_POLICY if name != "spin_decode")
DECODE = {"policy": "spin_decode", "eval.final_episodes": 50}

STUDIES = [
    Study(
        name="maze",
        question="Do all policies end close together in the mazes, as in the paper, however many actuators there are?",
        runs=[
            *grid(config=("maze",), maze__actuators=ACTUATORS, learner=("iql", "awac", "bcq"), policy=OTHERS),
            *grid(config=("maze",), maze__actuators=ACTUATORS, learner=("iql",), decode=(DECODE,)),
        ],
        size=SMALL | PLAYED,
        x="maze.actuators",
        panel=("learner",),
        pooled=True,
    )
]
