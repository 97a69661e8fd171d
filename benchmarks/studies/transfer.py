"""An ASM of another log: what it is worth against one of the log itself.

Left out: an ASM of another task, of which only the body fits; the package loads whole ASMs only.
"""

from benchmarks.studies.tasks import CHEETAH, MAZE, SMALL
from benchmarks.study_base import Study, grid

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
    )
]
