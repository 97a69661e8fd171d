"""spin_decode (ours): no actor is trained; the ASM proposes coherent joint actions and the critics choose among them.

SPIN's policy is a product over slots given the state, so it cannot express "these two choices or those two". The ASM
models every slot given any other slots. So iterative unmasking (models.unmasking) draws n joint actions from it, and
the critics choose one. The critics, sums of the slots' utilities, cannot tell a joint action that fits together from
one that mixes two. So the candidates must fit: they hold no choice that is improbable given those before it.
Expectations and supports (AWAC, BCQ, CQL) are of such candidates too. log_prob, sample and mode belong to one draw of
the ASM without that; the chosen one of n has no log-probability.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.fields import Section, Share, Size, Weight
from spin_jax.models.asm import ASM, ASMConfig
from spin_jax.models.gumbel import fixed_noise, gumbel, is_key
from spin_jax.models.unmasking import proposals, round_sizes, unmask, unmasking_log_prob
from spin_jax.policies.base import Policy, in_every_row, joint_q, sampled_policy
from spin_jax.types import ActionSpec


@dataclasses.dataclass(frozen=True)
class DecodeConfig(Section, where="config.spin_decode."):
    """How joint actions are drawn, and how one of them is selected.

    candidates: n, the draws for each state; rounds: r of unmasking (1 = one pass). threshold: candidates have no choice
    that was less than this times as probable as its slot's best one when it was drawn (BCQ's rule; 0 = any choice).
    select: 'argmax' takes the draw with the largest Q of the smaller critic; 'softmax' samples it with probabilities
    softmax(beta Q), and greedily takes the largest beta Q. With many draws that is the policy that IQL extracts, the
    behaviour weighted by exp(beta A) (the advantage A and Q differ by V(s), equal for all draws). Raises ValueError on
    other values.
    """

    candidates: Size
    rounds: Size
    threshold: Share
    select: Literal["argmax", "softmax"]
    beta: Weight


def make_decode(spec: ActionSpec, asm_config: ASMConfig, config: DecodeConfig) -> Policy:
    """The policy; `frozen` is the parameter tree of an ASM that was masked over the full range."""
    asm, rounds, n = ASM(spec, asm_config), config.rounds, config.candidates
    per_draw = len(round_sizes(spec.num_slots, rounds)) * spec.valid.size
    to_select = n if config.select == "softmax" else 0
    greedy_noise = np.zeros(n * per_draw + to_select, np.float32)  # of zeros: the ASM's mode, and the best draw
    greedy_noise[per_draw : n * per_draw] = fixed_noise((n - 1) * per_draw)

    def draw(params, frozen, x, source, count, threshold=0.0):
        return unmask(asm, frozen, x, source, rounds=rounds, count=count, threshold=threshold)

    def log_prob(params, frozen, x, actions, key=None):
        return unmasking_log_prob(asm, frozen, x, actions, rounds=rounds)

    def mode(params, frozen, x):
        return draw(params, frozen, x, None, 1)[0]

    def choose(params, frozen, x, utilities, source):
        """The best of n draws. Greedy: the draws follow from the state alone, and the first one is the ASM's mode."""
        source = in_every_row(greedy_noise, x) if source is None else source
        if is_key(source):
            of_draws, of_selection = jax.random.split(source)
        else:
            of_draws, of_selection = source[:, : n * per_draw], source[:, n * per_draw :]
        candidates = draw(params, frozen, x, of_draws, n, config.threshold)
        score = joint_q(utilities, candidates).min(1).T  # [B, n]
        if config.select == "softmax":
            score = config.beta * score + gumbel(of_selection, score.shape)
        return jnp.take_along_axis(candidates, score.argmax(1)[None, :, None], axis=0)[0]

    def init(key, frozen, observation):
        return ()

    return sampled_policy(
        init,
        log_prob,
        draw,
        mode,
        noise_per_draw=per_draw,
        choose=choose,
        greedy_noise=greedy_noise,
        candidates=n,
        considered=functools.partial(draw, threshold=config.threshold),
        propose=proposals(asm),
    )
