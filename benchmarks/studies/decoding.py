"""spin_decode: which candidates fit, how many there are, and how the critics choose."""

from benchmarks.studies.tasks import CHEETAH, FISH, JOINT, SMALL
from benchmarks.study_base import Study, grid

WAYS = tuple(
    {"spin_decode.threshold": threshold, "spin_decode.candidates": candidates, "spin_decode.select": select}
    for threshold, candidates, select in (
        (0.0, 32, "softmax"),
        (0.3, 1, "softmax"),
        (0.3, 8, "softmax"),
        (0.3, 32, "softmax"),
        (0.6, 32, "softmax"),
        (0.0, 32, "argmax"),
        (0.3, 32, "argmax"),
    )
)

STUDIES = [
    Study(
        name="decoding",
        question="What makes spin_decode good: candidates that fit, many of them, or the best of them?",
        runs=grid(task=(CHEETAH, FISH, JOINT), policy=("spin_decode",), way=WAYS),
        size=SMALL,
        x="spin_decode.candidates",
        line=("spin_decode.threshold", "spin_decode.select"),
        panel=("config",),
    )
]
