"""The best episodes alone: percentile cloning, the baseline that people ask for first, and the ASM trained on them.

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
    ),
    Study(
        name="best_episodes",
        question="Should the ASM model all episodes of a log, or the best of them?",
        runs=grid(
            task=(CHEETAH, JOINT),
            data__level=("expert", "medium-expert", "random-medium-expert"),
            policy=("spin_decode",),
            asm__top_fraction=(1.0, 0.5, 0.25),
        ),
        size={name: value for name, value in SMALL.items() if name != "data.level"},
        x="data.level",
        line=("asm.top_fraction",),
        panel=("config",),
    ),
]
