"""Conservative critics (CQL, Kumar et al. 2020) kept tractable for joint actions, with AWAC's actor and values.

CQL's penalty is logsumexp_a Q(s, a) over all actions, minus Q of the log's action. With Q = sum_i u_i(a_i), the sum
over the prod K_i joint actions factorises exactly: logsumexp_a Q = sum_i logsumexp_k u_i(k) (penalty 'slots'). Penalty
'candidates' takes the logsumexp over joint actions drawn from the frozen ASM instead: it lowers only the values of
plausible actions.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.fields import Size, Weight
from spin_jax.learners.awac import AWACConfig, make_awac
from spin_jax.learners.base import Learner
from spin_jax.objectives.value_learning import q_values
from spin_jax.policies.base import Policy, joint_q
from spin_jax.types import ActionSpec, Transition


@dataclasses.dataclass(frozen=True)
class CQLConfig(AWACConfig, where="config.cql."):
    """AWAC's settings, and: alpha, the penalty's weight; penalty, 'slots' or 'candidates'; the number of candidates.

    Raises ValueError if a value is out of range.
    """

    alpha: Weight
    penalty: Literal["slots", "candidates"]
    candidates: Size


def slots_penalty(utilities: jax.Array, actions: jax.Array, valid: np.ndarray) -> jax.Array:
    """sum over critics of mean_B [logsumexp over ALL joint actions of Q - Q(s, a)]; utilities [E, B, N, K]."""
    everything = jax.nn.logsumexp(jnp.where(valid[None, None], utilities, -jnp.inf), axis=-1).sum(-1)
    return (everything - q_values(utilities, actions)).mean(-1).sum()


def candidates_penalty(utilities: jax.Array, actions: jax.Array, candidates: jax.Array) -> jax.Array:
    """The same with the logsumexp over candidates [C, B, N] and the log's action, in place of all joint actions."""
    among = jnp.concatenate([joint_q(utilities, candidates), q_values(utilities, actions)[None]])  # [C + 1, E, B]
    return (jax.nn.logsumexp(among, axis=0) - among[-1]).mean(-1).sum()


def make_cql(policy: Policy, spec: ActionSpec, config: CQLConfig) -> Learner:
    """The learner; raises ValueError if penalty is 'candidates' and the policy reads no ASM that could draw them."""
    if config.penalty == "candidates" and policy.propose is None:
        raise ValueError(
            "cql.penalty='candidates' needs an ASM that proposes them; this policy reads none: use 'slots'."
        )

    def penalty(utilities, frozen, batch: Transition, key):
        if config.penalty == "slots":
            return config.alpha * slots_penalty(utilities, batch.action, spec.valid)
        assert policy.propose is not None  # refused above
        candidates = policy.propose(frozen, batch.observation, key, config.candidates)
        return config.alpha * candidates_penalty(utilities, batch.action, candidates)

    return make_awac(policy, spec, config, penalty)
