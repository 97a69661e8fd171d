"""Makes the policy, the learner and the evaluator that a configuration names."""

from collections.abc import Sequence

import jax
import optax

from spin_jax.config.sections import RunConfig
from spin_jax.evaluation.evaluator import Evaluator
from spin_jax.evaluation.on_device import OnDeviceEvaluator
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.learners.base import Learner
from spin_jax.policies.base import Policy
from spin_jax.registry import LEARNERS, POLICIES, PURE_ENVS
from spin_jax.training.seeds import Seeds
from spin_jax.types import ActionSpec


def make_policy(run: RunConfig, spec: ActionSpec) -> Policy:
    """The configured policy; its learning rate follows train.policy_schedule over the steps in which it learns."""
    policy = POLICIES[run.policy].make(spec, run.asm.model, run.policy_config)
    if run.train.policy_schedule == "constant":
        return policy
    falling = optax.cosine_decay_schedule(1.0, max(1, run.train.num_steps - run.learner_config.policy_starts_at))

    def optimiser(rate):
        return policy.optimiser(lambda step: (rate(step) if callable(rate) else rate) * falling(step))

    return policy._replace(optimiser=optimiser)


def make_learner(run: RunConfig, policy: Policy, spec: ActionSpec) -> Learner:
    """The configured learner, for this policy."""
    return LEARNERS[run.learner].make(policy, spec, run.learner_config)


def make_evaluator(
    run: RunConfig,
    learner: Learner,
    asms: Sequence[FrozenASM],
    seeds: Seeds,
    run_seeds: Sequence[int],
    *,
    episodes: int,
    beside_training: bool,
) -> Evaluator:
    """The evaluator of all seeds, inside one program if the task's environment is made of pure functions.

    Beside training, the evaluated policy computes on config.eval.device.
    """
    on_host = beside_training and run.eval.device == "cpu" and jax.default_backend() != "cpu"
    kind = OnDeviceEvaluator if run.task in PURE_ENVS else Evaluator
    return kind(
        learner.act,
        seeds.bundle_frozen([asm.params for asm in asms]),
        asms[0].normaliser,
        run.task,
        run.bins,
        run_seeds=run_seeds,
        episodes=episodes,
        greedy=run.eval.mode == "greedy",
        num_workers=run.eval.num_workers,
        seeds=seeds,
        device=jax.devices("cpu")[0] if on_host else None,
    )
