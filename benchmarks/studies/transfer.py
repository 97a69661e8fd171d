"""An ASM of another log, and the body of an ASM of another task: what they are worth against one of the log itself."""

from benchmarks.studies.tasks import CHEETAH, FISH, MAZE, SMALL
from benchmarks.study_base import NOTHING, Study, grid

STUDIES = [
    Study(
        name="transfer",
        question="What is an ASM of the medium log worth to a policy on random-medium-expert?",
        runs=grid(
            task=(MAZE, CHEETAH), policy=("spin", "spin_warm"), asm_level=("medium", "expert", "random-medium-expert")
        ),
        size=SMALL | {"data.level": "random-medium-expert"},
        x="asm_level",
        panel=("config",),
    ),
    Study(
        name="body_transfer",
        question="What is the body of cheetah-run's ASM worth to an ASM of fish-swim, whose slots and states differ?",
        runs=grid(task=(FISH,), policy=("spin_warm",), body_of=(NOTHING, "cheetah_run"), asm__num_epochs=(1, 5, 20)),
        size=SMALL,
        x="asm.num_epochs",
        line=("body_of",),
        measures=("return", "exact_match"),
    ),
]
