"""Critics and the state value: ReLU networks S -> 256 -> 256."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.types import ActionSpec

HIDDEN = (256, 256)


class MLP(nn.Module):
    """Dense-ReLU layers of width HIDDEN, then a linear layer of `outputs`; x [B, S] -> [B, outputs]."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in HIDDEN:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)


class Value(nn.Module):
    """V(s): observation [B, S] -> [B]."""

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        return MLP(1)(observation)[:, 0]


class Critics(nn.Module):
    """Decomposed critics (DecQN): observation [B, S] -> utilities [E, B, N, K]; those of padding are meaningless."""

    spec: ActionSpec
    num_critics: int = 2

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        shape = (len(observation), self.spec.num_slots, self.spec.num_choices)
        outputs = shape[1] * shape[2]
        return jnp.stack(
            [MLP(outputs, name=f"critic_{e}")(observation).reshape(shape) for e in range(self.num_critics)]
        )
