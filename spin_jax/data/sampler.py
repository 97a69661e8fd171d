"""Drawing batches inside the compiled step."""

from typing import Any

import jax


def sample_batch(key: jax.Array, data: Any, batch_size: int) -> Any:
    """`batch_size` rows of a tree of arrays [T, …], uniformly with replacement."""
    rows = len(jax.tree.leaves(data)[0])
    index = jax.random.randint(key, (batch_size,), 0, rows)
    return jax.tree.map(lambda leaf: leaf[index], data)
