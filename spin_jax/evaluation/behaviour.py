"""The behaviour behind a log, cloned: the probability of every slot's choices in a state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from spin_jax.evaluation.off_policy import ROWS, Log
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.models.asm import ASMConfig
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.training.loop import Hook, fit
from spin_jax.types import ActionSpec, Normaliser, normalise

WIDTH, DROPOUT, RATE, BATCH = 256, 0.1, 1e-3, 256
CHECK_EVERY = 250  # gradient steps between two looks at the rows that are measured


class Behaviour(NamedTuple):
    """act(observation [B, S], key) -> [B, N] and probabilities(observation [B, S]) -> [B, N, K], for jax.jit.

    nll: of a measured row, in nats.
    """

    act: Callable
    probabilities: Callable[[jax.Array], jax.Array]
    nll: float


def clone_behaviour(
    log: Log, measured: Log, spec: ActionSpec, normaliser: Normaliser, asm: ASMConfig, steps: int, key: jax.Array
) -> Behaviour:
    """A factored policy cloned from `log`: those parameters that make the rows of `measured` most probable.

    Slots are independent given the state, so its probabilities are the behaviour's marginals of each slot. asm: not
    used by this policy.
    """
    policy = make_factored(spec, asm, FactoredConfig(width=WIDTH, dropout=DROPOUT))
    learner = make_bc(policy, spec, BCConfig(learning_rate=RATE))
    init_key, loop_key = jax.random.split(key)
    scaled = [normalise(normaliser, part.data.observation).astype(np.float32) for part in (log, measured)]
    best: dict[str, Any] = {"nll": np.inf}
    log_prob = jax.jit(policy.log_prob)

    def check(step: int, state: Any) -> None:
        found = [
            log_prob(state.policy, (), scaled[1][i : i + ROWS], measured.data.action[i : i + ROWS], None)
            for i in range(0, len(scaled[1]), ROWS)
        ]
        nll = -float(np.concatenate(found).mean())
        if nll < best["nll"]:
            best.update(nll=nll, params=jax.tree.map(np.asarray, state.policy))

    data = jax.device_put(log.data._replace(observation=scaled[0], next_observation=scaled[0][:, :0]))
    fit(
        learner,
        learner.init(init_key, (), data.observation[:1]),
        (),
        data,
        loop_key,
        num_steps=steps,
        batch_size=BATCH,
        max_chunk=CHECK_EVERY,
        hooks=[Hook(CHECK_EVERY, check)],
        what="ope: cloning the behaviour",
        show=("policy_loss",),
    )
    marginals = policy.probabilities
    assert marginals is not None  # a factored policy has them

    def probabilities(observation: jax.Array) -> jax.Array:
        return marginals(best["params"], (), normalise(normaliser, observation))

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        return policy.sample(best["params"], (), normalise(normaliser, observation), key)

    return Behaviour(act, probabilities, best["nll"])
