"""The studies by their names; each module holds the lists of a few."""

from benchmarks.studies import (
    asm,
    cloning,
    decoding,
    dm_control,
    exact_match,
    maze,
    open_questions,
    structured,
    transfer,
)

MODULES = (maze, structured, asm, exact_match, transfer, open_questions, cloning, decoding, dm_control)
STUDIES = {study.name: study for module in MODULES for study in module.STUDIES}
