"""Problems with a known optimum: how much slots depend on each other, how many they are, and what the log covers."""

from benchmarks.studies.tasks import EIGHT_SLOTS, EVERY_POLICY, JOINT, PLAYED, SMALL
from benchmarks.study_base import Study, grid

EIGHT_PATTERNS = {**JOINT, "structured.choices": "16"}  # right joint actions in each state
COVERED = ("factored", "spin", "spin_warm", "spin_decode", "saint", "autoregressive")

STUDIES = [
    Study(
        name="structure",
        question="From which dependence between slots on does the ASM pay, and where does a product suffice?",
        runs=grid(config=("structured",), structured__dependence=(0.0, 0.25, 0.5, 0.75, 1.0), policy=EVERY_POLICY),
        size=SMALL | PLAYED | EIGHT_SLOTS,
        x="structured.dependence",
    ),
    Study(
        name="scale",
        question="What do 16 slots of 64 choices and 32 of 128 cost, and what does each policy still reach there?",
        runs=grid(
            size=(
                {"structured.slots": 16, "structured.choices": "64"},
                {"structured.slots": 32, "structured.choices": "128"},
            ),
            policy=EVERY_POLICY,
            config=("structured",),
        ),
        size=SMALL | PLAYED | {"structured.dependence": 0.5, "train.num_steps": 2000},
        x="structured.slots",
        measures=("return", "ms_per_step", "peak_mb"),
        seeds=3,
    ),
    Study(
        name="coverage",
        question="How does SPIN's advantage over a product depend on the share of the best joint patterns in the log?",
        runs=grid(task=(EIGHT_PATTERNS,), structured__coverage=(0.125, 0.25, 0.5, 1.0), policy=COVERED),
        size=SMALL,
        x="structured.coverage",
        measures=("return", "exact_match"),
    ),
]
