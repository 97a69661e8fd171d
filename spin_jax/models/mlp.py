"""Critics and the state value: ReLU networks with two hidden layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spin_jax.models.dense import Dense
from spin_jax.types import ActionSpec


class MLP(nn.Module):
    """Two Dense-ReLU layers of `width` units, then a linear layer of `outputs`; x [B, S] -> [B, outputs].

    fans: the three layers' `Dense.fan`.
    """

    outputs: int
    width: int = 256
    fans: tuple[int | None, int | None, int | None] = (None, None, None)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for fan in self.fans[:-1]:
            x = nn.relu(Dense(self.width, fan=fan)(x))
        return Dense(self.outputs, fan=self.fans[-1])(x)


class Value(nn.Module):
    """V(s): observation [B, S] -> [B]."""

    width: int = 256

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        return MLP(1, self.width)(observation)[:, 0]


class Critics(nn.Module):
    """Decomposed critics (DecQN): observation [B, S] -> utilities [E, B, N, K]; those of padding are meaningless.

    vectorised: initial values as in the published code's vectorised ensemble (of IQL and BCQ), which takes the number
    of a layer's outputs where PyTorch's default takes the number of its inputs.
    """

    spec: ActionSpec
    num_critics: int = 2
    width: int = 256
    vectorised: bool = False

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        shape = (observation.shape[0], self.spec.num_slots, self.spec.num_choices)
        outputs = shape[1] * shape[2]
        fans = (self.width, self.width, sum(self.spec.cardinalities)) if self.vectorised else (None, None, None)
        return jnp.stack(
            [
                MLP(outputs, self.width, fans, name=f"critic_{e}")(observation).reshape(shape)
                for e in range(self.num_critics)
            ]
        )
