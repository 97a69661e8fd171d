"""Several seeds in one program: which trees have a seed axis, and how a function runs over it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spin_jax.training.mesh import map_groups


class Seeds(NamedTuple):
    """How one program trains `num` seeds: on each device, `at_once` of them as one batch, one batch after the other.

    With num > 1, the seed is the leading axis of states, keys and metrics. It is also that of `frozen` if own_frozen is
    True, which means that each seed has its own frozen arrays.
    """

    num: int = 1
    at_once: int = 1
    own_frozen: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the mesh along which the leading axes of states lie."""
        return ("seed",) if self.num > 1 else ()

    def bundle(self, trees: Sequence[Any]) -> Any:
        """One tree for all seeds."""
        return trees[0] if self.num == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def split(self, tree: Any) -> list[Any]:
        """A tree for each seed."""
        if self.num == 1:
            return [tree]
        leaves, structure = jax.tree.flatten(tree)
        return [jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]) for i in range(self.num)]

    def bundle_frozen(self, trees: Sequence[Any]) -> Any:
        """The frozen arrays of all seeds as one tree, or the one tree that they share."""
        return self.bundle(trees) if self.own_frozen else trees[0]

    def map(self, run: Callable, state: Any, frozen: Any, key: jax.Array, groups: int = 1) -> Any:
        """run(state, frozen, key) for each seed; groups: how many groups of devices share the seeds."""
        if self.num == 1:
            return run(state, frozen, key)

        def one(arguments):
            state, key, *own = arguments
            return run(state, own[0] if own else frozen, key)

        def group(arguments):
            if self.at_once >= self.num // groups:
                return jax.vmap(one)(arguments)
            return jax.lax.map(one, arguments, batch_size=self.at_once if self.at_once > 1 else None)

        arguments = (state, key, frozen) if self.own_frozen else (state, key)
        return group(arguments) if groups == 1 else map_groups(group, arguments, groups)


ONE = Seeds()
