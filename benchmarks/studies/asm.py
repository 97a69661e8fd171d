"""The ASM: how long it is trained, and how it is masked (the paper's Section 6.1)."""

from benchmarks.studies.tasks import CHEETAH, JOINT, SMALL
from benchmarks.study_base import Study, grid

SPIN = ("spin", "spin_warm")
READERS = (*SPIN, "spin_decode")
ONE_ASM = {"asm.schedule": "constant", "asm.checkpoint_every_epochs": 1}
MASKINGS = (
    {"asm.masking": "fixed", "asm.replace_mask": 0.8, "asm.replace_random": 0.1},
    {"asm.masking": "fixed", "asm.replace_mask": 0.5, "asm.replace_random": 0.25},
    {"asm.masking": "full_range"},
)

STUDIES = [
    Study(
        name="asm_epochs",
        question="How many epochs of the ASM does the return need?",
        runs=grid(task=(CHEETAH, JOINT), policy=READERS, asm__num_epochs=(100,), asm__epoch=(0, 1, 5, 20, 100)),
        size=SMALL | ONE_ASM,
        x="asm.epoch",
        panel=("config",),
    ),
    Study(
        name="asm_masking",
        question="Does it matter how the ASM is masked: 80/10/10, 50/25/25, or the full range?",
        runs=grid(task=(CHEETAH, JOINT), policy=SPIN, masking=MASKINGS),
        size=SMALL,
        x="policy",
        line=("asm.masking", "asm.replace_mask"),
        panel=("config",),
        measures=("return", "exact_match"),
    ),
]
