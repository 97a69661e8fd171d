"""The studies by their names; each module holds the lists of a few."""

from benchmarks.studies import (
    asm,
    cloning,
    exact_match,
    maze,
    open_questions,
    quick,
    structured,
    transfer,
)

MODULES = (maze, structured, asm, exact_match, transfer, open_questions, cloning, quick)
STUDIES = {study.name: study for module in MODULES for study in module.STUDIES}
