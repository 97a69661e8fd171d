"""What the paper leaves open: conservative penalties, ordered slots, fine-tuning of the ASM."""

from benchmarks.studies.tasks import CHEETAH, JOINT, MAZE, PLAYED, SMALL
from benchmarks.study_base import Study, grid

SPIN = ("spin", "spin_warm")
LEARNERS = (
    {"learner": "iql"},
    {"learner": "cql", "cql.penalty": "slots"},
    {"learner": "cql", "cql.penalty": "candidates"},
)
FINETUNING = (
    {"spin.finetune": "frozen"},
    {"spin.finetune": "trained", "spin.finetune_after": 0},
    {"spin.finetune": "trained", "spin.finetune_after": 500},
)

STUDIES = [
    Study(
        name="penalties",
        question="Do conservative critics, over all joint actions or over the ASM's candidates, beat IQL?",
        runs=grid(task=(MAZE, CHEETAH, JOINT), policy=("spin_warm",), learner=LEARNERS),
        size=SMALL,
        x="policy",
        line=("learner", "cql.penalty"),
        panel=("config",),
    ),
    Study(
        name="ordered_slots",
        question="Do positions of the slots help where slots have an order, as the maze's actuators on their circle?",
        runs=grid(
            config=("maze",), maze__actuators=(7, 12), policy=SPIN, asm__positions=("none", "learned", "sinusoidal")
        ),
        size=SMALL | PLAYED,
        x="asm.positions",
        panel=("maze.actuators",),
        measures=("return", "exact_match"),
    ),
    Study(
        name="finetuning",
        question="Should the ASM stay frozen, learn on with the policy, or begin to after some steps of the policy?",
        runs=grid(task=(MAZE, CHEETAH, JOINT), policy=SPIN, finetuning=FINETUNING),
        size=SMALL,
        x="policy",
        line=("spin.finetune", "spin.finetune_after"),
        panel=("config",),
    ),
]
