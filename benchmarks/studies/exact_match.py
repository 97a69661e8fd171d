"""dog-trot: joint actions that the ASM predicts whole, and how returns change with the number of bins."""

from benchmarks.studies.tasks import SMALL
from benchmarks.study_base import Study, grid

ASM = {"asm.width": 64, "asm.num_epochs": 3, "asm.learning_rate": 4e-3}  # as in quick

STUDIES = [
    Study(
        name="exact_match",
        question="How many held-out joint actions does the ASM predict whole, and how many would independent slots?",
        runs=grid(
            config=("dog_trot",),
            bins=(3, 10),
            asm__masking=("fixed", "full_range"),
            policy=("spin",),
            stage=("pretrain",),
        ),
        size={"asm.width": 128, "asm.num_epochs": 20, "asm.learning_rate": 2e-3, "data.level": "expert"},
        x="bins",
        line=("asm.masking",),
        measures=("exact_match", "exact_match_untrained", "accuracy_product"),
        seeds=1,
    ),
    Study(
        name="cardinality",
        question="What do more bins of dog-trot cost each policy?",
        runs=grid(config=("dog_trot",), bins=(3, 10, 30), policy=("factored", "spin_warm", "spin", "saint")),
        size=SMALL | ASM | {"train.n_step": 10, "train.num_steps": 10_000, "eval.every_steps": 10_000},
        x="bins",
        measures=("return", "ms_per_step"),
        seeds=3,
    ),
]
