"""What the fields of settings may hold, declared where the fields are, and the one check of it."""

import dataclasses
import math
import numbers
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from spin_jax.errors import ConfigError

KINDS = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False"}


class Range(NamedTuple):
    """Numbers from low to high, both included unless `above` or `below` says otherwise, and those of `also`."""

    low: float
    high: float
    above: bool = False
    below: bool = False
    also: tuple[float, ...] = ()

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under or value in self.also

    def __str__(self) -> str:
        also = "".join(f" or be {value:g}" for value in self.also)
        low, high = (f"{v}" if isinstance(v, int) else f"{v:g}" for v in (self.low, self.high))
        return f"lie in {'(' if self.above else '['}{low}, {high}{')' if self.below else ']'}{also}"


SIZE = 1 << 16  # the largest width, number of heads, tokens, candidates, …
BATCH = 1 << 24  # the largest batch
COUNT = 10**12  # the largest number of steps, frames, …
SEEDS = 2**32 - 1  # the largest seed: jax.random.key keeps 32 bits of it

Size = Annotated[int, Range(1, SIZE)]  # of what exists at once
SizeOrZero = Annotated[int, Range(0, SIZE)]
Batch = Annotated[int, Range(1, BATCH)]
Count = Annotated[int, Range(1, COUNT)]  # of what comes one after the other
CountOrZero = Annotated[int, Range(0, COUNT)]
Seed = Annotated[int, Range(0, SEEDS)]
Workers = Annotated[int, Range(0, 4096, also=(-1,))]  # processes; -1 = one per core
Share = Annotated[float, Range(0, 1)]
Fraction = Annotated[float, Range(0, 1, above=True)]
DropoutRate = Annotated[float, Range(0, 0.99)]
Positive = Annotated[float, Range(0, 1e6, above=True)]
Weight = Annotated[float, Range(0, 1e6)]


class Section:
    """The base of dataclasses of settings: all fields are checked whenever one is made.

    `class IQLConfig(Section, where="config.iql.")`: where is what stands before a field's name in messages. A class
    with fields that must agree overrides `agree`. Raises ConfigError.
    """

    where: ClassVar[str] = ""

    def __init_subclass__(cls, where: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if where is not None:
            cls.where = where

    def __post_init__(self) -> None:
        for name, problem in problems(self):
            raise ConfigError(f"{self.where}{name} {problem}")
        self.agree()

    def agree(self) -> None:
        """Raises ConfigError where fields that are right alone do not go together."""


def problems(settings: Any) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it) for every field of a dataclass that holds another type or value than declared.

    Fields with the metadata `from` belong to another section, which checks them.
    """
    for field in dataclasses.fields(settings):
        if "from" in field.metadata:
            continue
        value = getattr(settings, field.name)
        problem = mismatch(field.type, value)
        if problem:
            yield field.name, f"must {problem}, got {value!r}."


def mismatch(declared: Any, value: object) -> str | None:
    """What a field of the type `declared` must do, if `value` does not; types without a rule here take everything."""
    if get_origin(declared) is Literal:
        known = get_args(declared)
        return None if value in known else f"be {' or '.join(map(repr, known))}"
    kind, *rules = get_args(declared) if get_origin(declared) is Annotated else (declared,)
    if kind in KINDS and not _is(value, kind):
        return f"be {KINDS[kind]}"
    return next((str(rule) for rule in rules if not rule.holds(value)), None)


def _is(value: object, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind is float:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    return isinstance(value, kind)
