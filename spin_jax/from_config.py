"""From a configuration to what it names: the policy, its learner, their evaluator."""

import jax
import optax

from spin_jax.config.build import RunConfig, num_workers
from spin_jax.evaluation.evaluator import Evaluator
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.learners.base import Learner
from spin_jax.policies.base import Policy
from spin_jax.registry import LEARNERS, POLICIES
from spin_jax.stages.stage import Member
from spin_jax.training.seeds import Seeds
from spin_jax.types import ActionSpec


def make_policy(run: RunConfig, spec: ActionSpec, num_features: int) -> Policy:
    """The configured policy; its optimiser follows train.policy_schedule over the steps in which the policy learns."""
    policy = POLICIES[run.policy].make(spec, num_features, run.asm.model, run.policy_config)
    if run.train.policy_schedule == "constant":
        return policy
    steps = max(1, run.train.num_steps - getattr(run.learner_config, "extract_after", 0))
    return policy._replace(optimiser=lambda rate: policy.optimiser(optax.cosine_decay_schedule(rate, steps)))


def make_learner(run: RunConfig, spec: ActionSpec, num_features: int) -> Learner:
    """The configured learner of the configured policy."""
    policy = make_policy(run, spec, num_features)
    return LEARNERS[run.learner].make(policy, spec, num_features, run.learner_config)


def make_evaluator(
    run: RunConfig,
    team: list[Member],
    learner: Learner,
    asms: list[FrozenASM],
    seeds: Seeds,
    episodes: int,
    device: jax.Device | None = None,
) -> Evaluator:
    """The evaluator that the configuration asks for, of all seeds."""
    return Evaluator(
        learner.act,
        seeds.bundle_frozen([asm.params for asm in asms]),
        asms[0].normaliser,
        run.task,
        run.bins,
        run_seeds=[member.run.seed for member in team],
        episodes=episodes,
        greedy=run.eval.mode == "greedy",
        num_workers=num_workers(run.eval.num_workers),
        seeds=seeds,
        device=device,
    )
