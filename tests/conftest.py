"""Fixtures that several rooms share: tiny sizes, and oracles written without flax."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.models.transformer import BodyConfig
from spin_jax.types import ActionSpec

if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # each of pytest's workers has cores of its own: the threads of two programs on the same cores wait for each other
    own = slice(int(os.environ["PYTEST_XDIST_WORKER"][2:]), None, int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[own] or os.sched_getaffinity(0))
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)  # compiling tiny programs is nearly all the suite does
if jax.__version_info__ < (0, 11):  # the fusion emitters are a third of that; later versions end on an unknown flag
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()
NO_LLVM = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="session", autouse=True)
def quick_children():
    """The same for the processes that tests start; this process has read its own flags before."""
    jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {NO_LLVM}".strip())
        yield NO_LLVM


@pytest.fixture
def debug_nans():
    with jax.debug_nans(True):
        yield


@pytest.fixture(scope="session")
def spec():
    """Unequal cardinalities, so that padding is everywhere."""
    return ActionSpec((2, 3, 2))


@pytest.fixture(scope="session")
def asm_config():
    body = BodyConfig(width=8, num_heads=2, num_blocks=1, ffn_mult=2, dropout=0.1)
    return ASMConfig(body, state_tokens=2, head_width=6)


@pytest.fixture(scope="session")
def asm_params(spec, asm_config):
    """Parameters of an ASM of 5 features; no bias is zero and no scale one, so that a dropped one shows."""
    asm = ASM(spec, asm_config)
    params = jax.jit(asm.init)(jax.random.key(0), jnp.zeros((1, 5)), jnp.zeros((1, spec.num_slots), int))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)


@pytest.fixture(scope="session")
def plain_asm():
    """logits(params, config, observation [B, S], choices [B, N], xp, erf): the ASM from its description, no flax.

    drop, drop_heads: dropout at the four places of the body, and in the heads; none by default.
    """

    def dense(p, x):
        return x @ p["kernel"] + p["bias"]

    def keep(x):
        return x

    def logits(params, config, observation, choices, xp, erf, drop=keep, drop_heads=keep):
        width, heads = config.body.width, config.body.num_heads

        def gelu(x):
            return 0.5 * x * (1 + erf(x / 2**0.5))

        def norm(p, x):
            centred = x - x.mean(-1, keepdims=True)
            return centred / xp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

        def attend(p, of_queries, of_keys):
            q, k, v = (
                xp.einsum("btd,dhw->bhtw", x, p[n]["kernel"]) + p[n]["bias"][:, None, :]
                for n, x in (("query", of_queries), ("key", of_keys), ("value", of_keys))
            )
            scores = xp.exp(xp.einsum("bhqw,bhkw->bhqk", q, k) / (width // heads) ** 0.5)
            weights = drop(scores / scores.sum(-1, keepdims=True))
            mixed = xp.einsum("bhqk,bhkw->bqhw", weights, v)
            return drop(xp.einsum("bqhw,hwd->bqd", mixed, p["out"]["kernel"]) + p["out"]["bias"])

        with jax.numpy_rank_promotion("allow"):
            state = dense(params["encoder_out"], gelu(dense(params["encoder_in"], observation)))
            state = state.reshape(len(observation), config.state_tokens, width)
            tokens = xp.stack([params["table"][i][choices[:, i]] for i in range(choices.shape[1])], axis=1)
            x = xp.concatenate([state, tokens], axis=1)
            for i in range(config.body.num_blocks):
                p = params["body"][f"block_{i}"]
                x = x + attend(p["attention"], norm(p["attention_norm"], x), norm(p["kv_norm"], x))
                x = x + drop(dense(p["ffn_out"], drop(gelu(dense(p["ffn_in"], norm(p["ffn_norm"], x))))))
            p = params["heads"]
            slots = []
            for i in range(choices.shape[1]):
                hidden = gelu(x[:, config.state_tokens + i] @ p["kernel_in"][i] + p["bias_in"][i])
                slots.append(drop_heads(hidden) @ p["kernel_out"][i] + p["bias_out"][i])
            return xp.stack(slots, axis=1)

    return logits
