"""The knobs of a structured problem (envs/structured.py), the name made of them, and tables that know all names."""

import dataclasses
import re
from collections import UserDict
from typing import Annotated, TypeVar

from spin_jax.errors import ConfigError
from spin_jax.fields import Fraction, Range, Section, Share

LISTED = "structured_8x4_0.5_1.0"  # the problem that stands for all where tasks are listed: that of the presets
LEAST, MOST = 2, 128  # choices of a slot
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class StructuredConfig(Section, where="config.structured."):
    """N slots; the choices of each; how much depends on them together; the share of right actions that logs play.

    choices: K of every slot, such as '4', or several numbers, such as '2-7-100', that the slots take in turn.
    dependence: 0 = every slot's choice counts by itself, 1 = only all slots together count. Raises ConfigError.
    """

    slots: Annotated[int, Range(2, 64)]
    choices: str
    dependence: Share
    coverage: Fraction

    def agree(self) -> None:
        numbers = self.choices.split("-")
        if not all(re.fullmatch(r"[1-9]\d{0,2}", k) and LEAST <= int(k) <= MOST for k in numbers):
            raise ConfigError(
                f"config.structured.choices must name whole numbers from {LEAST} to {MOST}, such as 4 or 2-7-100, "
                f"got {self.choices!r}."
            )
        if len(numbers) > self.slots:
            raise ConfigError(
                f"config.structured.choices={self.choices} names the choices of {len(numbers)} slots, and there are "
                f"{self.slots}: name fewer, or set config.structured.slots={len(numbers)}."
            )

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of choices of each slot, [N]."""
        numbers = [int(k) for k in self.choices.split("-")]
        return tuple(numbers[i % len(numbers)] for i in range(self.slots))

    @property
    def num_patterns(self) -> int:
        """M, the right joint actions of a state: 2 to 8, at most half of the choices of the smallest slot if 4 or more.

        No two of them have a choice in common. With 2 or 3 choices in a slot, nearly all are in one of the 2 patterns.
        """
        return min(8, max(2, min(self.cardinalities) // 2))

    @property
    def num_covered(self) -> int:
        """The patterns of each state that the behaviour policies play, at least 1."""
        return max(1, round(self.coverage * self.num_patterns))

    @property
    def task(self) -> str:
        """The name of the task; configs/structured.py makes it, too."""
        return f"structured_{self.slots}x{self.choices}_{float(self.dependence)}_{float(self.coverage)}"


def knobs_of(task: str) -> StructuredConfig:
    """The knobs in a task's name; raises ConfigError if it is of none, or with a knob out of range."""
    number = r"(\d+(?:\.\d+)?(?:e-\d+)?)"
    found = re.fullmatch(rf"structured_(\d+)x([\d-]+)_{number}_{number}", task)
    if found is None:
        raise ConfigError(
            f"config.task is {task!r}; structured problems are structured_SLOTSxCHOICES_DEPENDENCE_COVERAGE, such "
            f"as {LISTED}. --config=configs/structured.py --config.structured.dependence=0.5 makes the name."
        )
    slots, choices, dependence, coverage = found.groups()
    knobs = StructuredConfig(slots=int(slots), choices=choices, dependence=float(dependence), coverage=float(coverage))
    if knobs.task != task:  # one problem, one name: a log stands under it
        raise ConfigError(f"config.task is {task!r}. Did you mean {knobs.task!r}?")
    return knobs


def is_structured(task: object) -> bool:
    """Whether this is the name of a structured problem, with knobs in their ranges."""
    try:
        return isinstance(task, str) and bool(knobs_of(task))
    except ConfigError:
        return False


class ByTask(UserDict[str, T]):
    """A table over tasks by name. It lists one structured problem, LISTED, and has the line of that one for all others.

    Their dependence is any number, so they cannot be listed.
    """

    def __missing__(self, task: str) -> T:
        if is_structured(task):
            return self.data[LISTED]
        raise KeyError(task)

    def __contains__(self, task: object) -> bool:
        return task in self.data or is_structured(task)
