"""Level names and the TFDS split expressions that they stand for."""

import pytest

from spin_jax.data.dataset import split_expression
from spin_jax.errors import DataError

SPLITS = ("random", "medium", "expert")


@pytest.mark.parametrize(
    ("level", "episodes", "expression"),
    [
        ("random", 1000, "random"),
        ("medium-expert", 1000, "medium+expert"),
        ("random-medium-expert", 1000, "random[:67]+medium[:67]+expert[:66]"),  # 200 episodes of 1000 steps
        ("random-medium-expert", 66, "random[:66]+medium[:66]+expert[:66]"),
        ("random-medium-expert", 4, "random[:4]+medium[:4]+expert[:4]"),
        ("medium+expert[:50%]", 1000, "medium+expert[:50%]"),
        ("expert[10:20]", 4, "expert[10:20]"),  # what the user wrote is the user's
    ],
)
def test_levels_become_split_expressions(level, episodes, expression):
    assert split_expression(level, episodes, SPLITS) == expression


@pytest.mark.parametrize("level", ["", "expert-medium", "medium+best", "replay", "medium,expert"])
def test_unknown_levels_are_refused_with_the_known_ones(level):
    with pytest.raises(DataError, match=f"Unknown level '{level}'.*Known levels: random, medium".replace("+", r"\+")):
        split_expression(level, 1000, SPLITS)


def test_the_levels_are_those_of_the_task():
    """The named mixtures of medium and expert are none of a task whose splits have other names."""
    assert split_expression("queue+random[:50%]", 10, ("random", "queue")) == "queue+random[:50%]"
    with pytest.raises(DataError, match=r"Known levels: random, queue; or .* such as 'random\+queue\[:50%\]'\."):
        split_expression("medium-expert", 10, ("random", "queue"))
