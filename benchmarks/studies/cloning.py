"""Percentile cloning: the baseline that people ask for first, on every mixed log.

spin_decode has IQL alone: it has no actor that could clone.
"""

from benchmarks.studies.tasks import CHEETAH, JOINT, MAZE, SMALL
from benchmarks.study_base import Study, grid

LEARNERS = ({"learner": "iql"}, *({"learner": "bc", "bc.top_fraction": share} for share in (1.0, 0.5, 0.25, 0.1)))
LOGS = {"task": (MAZE, CHEETAH, JOINT), "data__level": ("medium-expert", "random-medium-expert")}

STUDIES = [
    Study(
        name="cloning",
        question="Does offline reinforcement learning beat cloning of the best episodes on mixed logs?",
        runs=[
            *grid(**LOGS, policy=("factored", "spin_warm"), learner=LEARNERS),
            *grid(**LOGS, policy=("spin_decode",), learner=("iql",)),
        ],
        size={name: value for name, value in SMALL.items() if name != "data.level"},
        x="data.level",
        line=("learner", "bc.top_fraction"),
        panel=("config", "policy"),
    )
]
