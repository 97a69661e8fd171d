"""What a learner is: pure functions over a state that is a NamedTuple of arrays only."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Learner(NamedTuple):
    """An algorithm as pure functions, as optax does it.

    init(key, frozen) -> state: a NamedTuple of arrays, so donation, checkpoints and vmap over seeds come for nothing.
    update(state, frozen, batch, key) -> (state, metrics): one gradient step; its docstring lists the order of its
        sub-updates. `frozen` is a tree that is never differentiated nor optimised (the ASM); () where there is none.
    act(state, frozen, observation [B, S], key) -> action [B, N]: greedy where key is None, sampled otherwise.
    reads_next: whether update asks the policy about s', so that an encoding of s' is needed as well.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, dict]]
    act: Callable[..., Any]
    reads_next: bool = False
