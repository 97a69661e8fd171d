"""The Action Structure Model (stage 1) and the slot heads that both stages use."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.fields import Section, Size
from spin_jax.models.dense import Dense, cast, widen
from spin_jax.models.dropout import Dropout
from spin_jax.models.initialisers import normal, uniform
from spin_jax.models.transformer import Body, BodyConfig, gelu
from spin_jax.types import ActionSpec

Positions = Literal["none", "learned", "sinusoidal"]


@dataclasses.dataclass(frozen=True)
class ASMConfig(Section, where="config.asm."):
    """Architecture of the ASM: the body, M state tokens, the width of the slot heads, and the slots' positions.

    positions: the embedding of its position that is added to a slot's token. 'none': no embedding, slots are a set (as
    published); 'learned' or 'sinusoidal': for sub-actions with an order. Raises ValueError on other values.
    state_free: the ASM does not see the state, it models p(a_i | the slots that are not masked).
    """

    body: BodyConfig
    state_tokens: Size
    head_width: Size
    positions: Positions = "none"
    state_free: bool = False


def sinusoidal(num_slots: int, width: int) -> np.ndarray:
    """Position embeddings [N, D]: sines in even, cosines in odd features (Vaswani et al. 2017, section 3.5)."""
    feature = np.arange(width)[None, :]
    angle = np.arange(num_slots)[:, None] / 10_000 ** (feature // 2 * 2 / width)
    return np.where(feature % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


class SlotHeads(nn.Module):
    """One head for each slot: D -> width -> GELU -> dropout -> K; z [B, N, D] -> logits [B, N, K].

    All heads are computed as one batched product, padded to K. Logits of padding are meaningless; the functions of
    models/categorical.py mask them.
    """

    spec: ActionSpec
    width: int
    dropout: float
    dtype: str | None = None  # of the products (None: the parameters'); logits are float32

    @nn.compact
    def __call__(self, z: jax.Array, deterministic: bool) -> jax.Array:
        n, d = z.shape[-2:]
        kernel_in = self.param("kernel_in", uniform(d), (n, d, self.width))
        bias_in = self.param("bias_in", uniform(d), (n, self.width))
        kernel_out = self.param("kernel_out", uniform(self.width), (n, self.width, self.spec.num_choices))
        bias_out = self.param("bias_out", uniform(self.width), (n, self.spec.num_choices))
        # slots as leading axis: this batched product took 0.4 of the time of the einsum "bnd,ndh->bnh" on two CPU cores
        z, *params = (cast(x, self.dtype) for x in (z, kernel_in, bias_in[:, None], kernel_out, bias_out[:, None]))
        h = gelu(z.swapaxes(0, 1) @ params[0] + params[1])
        h = Dropout(self.dropout)(h, deterministic)
        return widen(h @ params[2] + params[3]).swapaxes(0, 1)


class ASM(nn.Module):
    """p(a_i | s, the slots that are not masked): state encoder, per-slot tables, equivariant body, slot heads.

    Choices are [B, N] int32; the value K stands for [MASK] in every slot (row K of its table). init(method=contextual)
    gives only the parameters of encoder and body.
    """

    spec: ActionSpec
    config: ASMConfig

    def setup(self) -> None:
        width = self.config.body.width
        dtype = self.config.body.dtype
        if not self.config.state_free:
            self.encoder_in = Dense(2 * width, dtype)
            self.encoder_out = Dense(self.config.state_tokens * width, dtype)
        if self.config.positions == "learned":
            self.positions = self.param("positions", nn.initializers.normal(0.02), (self.spec.num_slots, width))
        elif self.config.positions == "sinusoidal":
            self.positions = sinusoidal(self.spec.num_slots, width)
        self.body = Body(self.config.body)
        self.heads = SlotHeads(self.spec, self.config.head_width, self.config.body.dropout, dtype)

    def contextual(self, observation: jax.Array, tokens: jax.Array, deterministic: bool = True) -> jax.Array:
        """Contextual slot embeddings z [B, N, D] of observation [B, S] and action tokens [B, N, D] or [N, D].

        Tokens [N, D] are the same in every row; computations that do not depend on the row are then done once.
        """
        state = jnp.zeros((observation.shape[0], 0, self.config.body.width), observation.dtype)  # no token
        if not self.config.state_free:
            state = self.encoder_out(gelu(self.encoder_in(observation)))
            state = state.reshape(observation.shape[0], self.config.state_tokens, self.config.body.width)
        if self.config.positions != "none":
            tokens = tokens + jnp.broadcast_to(self.positions, tokens.shape)
        return self.body(state, tokens, deterministic)

    @nn.compact
    def __call__(self, observation: jax.Array, choices: jax.Array, deterministic: bool = True) -> jax.Array:
        """Logits [B, N, K] of every slot given observation [B, S] and choices [B, N]."""
        # rows K_i … K - 1 of slot i are never used
        shape = (self.spec.num_slots, self.spec.num_choices + 1, self.config.body.width)
        table = self.param("table", normal, shape)
        tokens = table[jnp.arange(self.spec.num_slots)[None, :], choices]
        return self.heads(self.contextual(observation, tokens, deterministic), deterministic)


def mask_embeddings(asm: ASM, params: dict, observation: jax.Array) -> jax.Array:
    """z(s) [B, N, D]: the contextual slot embeddings of observation [B, S] when every slot is [MASK]."""
    return asm.apply({"params": params}, observation, params["table"][:, asm.spec.num_choices], method=ASM.contextual)


def full_mask_logits(asm: ASM, params: dict, observation: jax.Array) -> jax.Array:
    """Logits [B, N, K] of every slot when all slots are [MASK]: the ASM's prediction from the state alone."""
    heads = SlotHeads(asm.spec, asm.config.head_width, 0.0, asm.config.body.dtype)
    return heads.apply({"params": params["heads"]}, mask_embeddings(asm, params, observation), deterministic=True)
