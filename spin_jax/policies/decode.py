"""spin_decode (ours): no actor is trained; the ASM proposes coherent joint actions and the critics choose among them.

SPIN's policy is a product over slots given the state, so it cannot express "these two choices or those two". The ASM
models every slot given any other slots. So iterative unmasking (models.unmasking) draws joint actions from it, and the
best of n draws is played. log_prob, sample and mode belong to one draw; the best of n has no log-probability.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.models.unmasking import proposals, unmask, unmasking_log_prob
from spin_jax.policies.base import Policy, joint_q, sampled_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
    """How joint actions are drawn, and how one of them is selected.

    candidates: n, the draws for each state; rounds: r of unmasking (1 = one pass). select: 'argmax' takes the draw with
    the largest Q of the smaller critic; 'softmax' samples it with probabilities softmax(beta Q). (The advantage in
    place of Q would give the same: they differ by V(s), equal for all draws.) Raises ValueError on other values.
    """

    candidates: int
    rounds: int
    select: str
    beta: float

    def __post_init__(self):
        if self.select not in ("argmax", "softmax"):
            raise ValueError(f"spin_decode.select must be 'argmax' or 'softmax', got {self.select!r}.")
        if self.candidates < 1 or self.rounds < 1 or not self.beta >= 0:
            raise ValueError("spin_decode needs candidates and rounds of at least 1 and a beta that is not negative.")


def make_decode(spec: ActionSpec, asm_config: ASMConfig, config: DecodeConfig) -> Policy:
    """The policy; `frozen` is the parameter tree of an ASM that was masked over the full range."""
    asm = ASM(spec, asm_config)

    def draw(params, frozen, x, key, count):
        return unmask(asm, frozen, x, key, rounds=config.rounds, count=count)

    def log_prob(params, frozen, x, actions, key=None):
        return unmasking_log_prob(asm, frozen, x, actions, rounds=config.rounds)

    def mode(params, frozen, x):
        return draw(params, frozen, x, None, 1)[0]

    def choose(params, frozen, x, utilities, key):
        """The best of n draws. Without a key, every call has the same draws, and one of them is the ASM's mode."""
        greedy = key is None
        draw_key, select_key = jax.random.split(jax.random.key(0) if greedy else key)
        candidates = draw(params, frozen, x, draw_key, config.candidates)
        if greedy:
            candidates = candidates.at[0].set(mode(params, frozen, x))
        q = joint_q(utilities, candidates).min(1)  # [n, B]
        if greedy or config.select == "argmax":
            best = q.argmax(0)
        else:
            best = jax.random.categorical(select_key, config.beta * q, axis=0)
        return jnp.take_along_axis(candidates, best[None, :, None], axis=0)[0]

    def init(key, frozen, observation):
        return ()

    return sampled_policy(init, log_prob, draw, mode, choose, candidates=config.candidates, propose=proposals(asm))
