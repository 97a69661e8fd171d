"""Off-policy evaluation: judges the trained policy from the log alone, beside the cloned behaviour and chance."""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.errors import ConfigError
from spin_jax.evaluation.behaviour import clone_behaviour
from spin_jax.evaluation.off_policy import ROWS, Log, draw, fitted_value, importance_sampled_value
from spin_jax.evaluation.support import in_words, joint_share, slot_support
from spin_jax.from_config import make_learner, make_policy
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.learners.base import Learner
from spin_jax.policies.base import Policy, encoded
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.progress import log as message
from spin_jax.record.workdir import Workdir, write_json
from spin_jax.stages.evaluate_policy import load_policy
from spin_jax.stages.make_data import load_data
from spin_jax.stages.members import Member, members
from spin_jax.training.keys import stream
from spin_jax.types import ActionSpec, Transition, normalise

DRAWS = 64  # actions a state from which the probabilities of a policy's choices are estimated where it has no formula


class Target(NamedTuple):
    """A policy to be judged; observations are as they stand in the log.

    act(observation [B, S], key) -> [B, N]; probabilities(observation [T, S]) -> [T, N, K], the marginals of the slots;
    log_prob(observation [T, S], action [T, N]) -> [T], or None where it is not known.
    """

    name: str
    act: Callable
    probabilities: Callable[[np.ndarray], np.ndarray]
    log_prob: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def off_policy_evaluation(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """Judges every kept policy of every seed; records and returns the figures (report.judgement shows them).

    What is finished is kept in workdir/ope, one file for each policy, and not computed again. Raises ConfigError if
    the log is not in memory.
    """
    if run.data.mode == "stream":
        raise ConfigError("--stage=ope reads the whole log at once: it needs config.data.mode=memory.")
    begin, key, draws_key = time.monotonic(), stream(run.seed, "ope/fit"), stream(run.seed, "ope/draws")
    if run.train.n_step != 1:
        dataset = load_data(dataclasses.replace(run, train=dataclasses.replace(run.train, n_step=1)))
    fitted, measured = logs(dataset)
    spec, config = dataset.spec, run.ope.fitted_q
    clone_key = stream(run.seed, "ope/clone")
    behaviour = clone_behaviour(
        fitted, measured, spec, dataset.normaliser, run.asm.model, run.ope.clone_steps, clone_key
    )
    theirs = behaviour.probabilities(measured.data.observation)
    targets = [
        *trained(run, members(run, workdir), dataset),
        Target("behaviour, cloned", behaviour.act, behaviour.probabilities),
        uniform(spec),
    ]
    directory, figures = workdir.stage("ope"), {}
    for target in targets:
        path = directory / f"{target.name.replace(', ', '_').replace(' ', '_')}.json"
        if path.exists():
            figures[target.name] = json.loads(path.read_text())
            continue
        what = f"ope: {target.name}"
        value = fitted_value(target.act, fitted, measured, spec, dataset.normaliser, config, key, what)
        figures[target.name] = value._asdict() | judged(
            target, theirs, fitted, measured, dataset, config.gamma, draws_key
        )
        write_json(path, figures[target.name])
        message.info(f"{what}: value {value.mean:.2f} ({value.low:.2f} to {value.high:.2f})")
    returns = measured.discounted_returns(config.gamma)
    summary = {
        "seconds": time.monotonic() - begin,
        "gamma": config.gamma,
        "measured_on": dataset.probe_name,
        "episodes": len(measured.lengths),
        "log_return": float(returns.mean()),
        "log_return_error": float(returns.std() / len(returns) ** 0.5),
        "unseen_share": measured.unseen_share(config.gamma),
        "behaviour_nll": behaviour.nll,
        "slots": list(dataset.spaces.slots),
        "policies": figures,
    }
    return workdir.finish("ope", summary)


def logs(dataset: Dataset) -> tuple[Log, Log]:
    """(the rows that values are fitted on, the held-out rows that they are measured on)."""
    measured = Log(dataset.probe, dataset.probe_lengths, dataset.probe_propensity)
    assert isinstance(dataset.train, Transition)  # off_policy_evaluation refuses a stream
    return Log(dataset.train, dataset.lengths), measured


def uniform(spec: ActionSpec) -> Target:
    """The policy that chooses uniformly in every slot."""
    cardinalities = np.asarray(spec.cardinalities)

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (observation.shape[0], spec.num_slots), 0, cardinalities[None, :])

    def probabilities(observation: np.ndarray) -> np.ndarray:
        return np.broadcast_to(spec.valid / cardinalities[:, None], (len(observation), *spec.valid.shape))

    def log_prob(observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.full(len(action), -np.log(cardinalities).sum())

    return Target("uniform", act, probabilities, log_prob)


def trained(run: RunConfig, team: Sequence[Member], dataset: Dataset) -> list[Target]:
    """The trained policies of all seeds, each at every step that is kept."""
    policy = make_policy(run, dataset.spec)
    learner, found = make_learner(run, policy, dataset.spec), []
    for member in team:
        seed = f"seed {member.run.seed}, " if len(team) > 1 else ""
        steps: list[int | None] = [*CheckpointStore(member.state("policy"), keep=None).steps()]
        for step in steps[-run.train.keep_policies :] or [None]:  # None: load_policy says that there is none
            _, states, asms = load_policy(run, [member], dataset, step)
            name = f"{run.policy}, {seed}step {step}"
            found.append(_target(name, run, policy, learner, states[0], asms[0], dataset))
    return found


def _target(
    name: str, run: RunConfig, policy: Policy, learner: Learner, state: Any, asm: FrozenASM, dataset: Dataset
) -> Target:
    greedy, spec, draws_key = run.eval.mode == "greedy", dataset.spec, stream(run.seed, "ope/draws")

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        rows = normalise(asm.normaliser, observation)
        return learner.act(state, asm.params, rows, None if greedy else key)

    def x_of(observation):
        return encoded(policy, asm.params, normalise(asm.normaliser, observation))

    def probabilities(observation: np.ndarray) -> np.ndarray:
        marginals = policy.probabilities
        if greedy or marginals is None:
            drawn = draw(act, observation, 1 if greedy else DRAWS, draws_key)
            return np.stack([(drawn == k).mean(0) for k in range(spec.num_choices)], axis=-1)
        exact = jax.jit(lambda rows: marginals(state.policy, asm.params, x_of(rows)))
        return np.concatenate([exact(observation[i : i + ROWS]) for i in range(0, len(observation), ROWS)])

    def log_prob(observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        call = jax.jit(lambda rows, a: policy.log_prob(state.policy, asm.params, x_of(rows), a, None))
        parts = range(0, len(observation), ROWS)
        return np.concatenate([call(observation[i : i + ROWS], action[i : i + ROWS]) for i in parts])

    return Target(name, act, probabilities, None if greedy or not jax.tree.leaves(state.policy) else log_prob)


def judged(
    target: Target, theirs: np.ndarray, fitted: Log, measured: Log, dataset: Dataset, gamma: float, key: jax.Array
) -> dict:
    """What the log can say of a policy beside its value."""
    data = measured.data
    support = slot_support(target.probabilities(data.observation), theirs, data.action, dataset.spec)
    played = draw(target.act, data.observation, 1, key)[0]
    figures = {name: np.asarray(column).tolist() for name, column in support._asdict().items()} | {
        "supported": bool(support.supported.all()),
        "verdict": in_words(support, dataset.spaces.slots),
        "joint_share": joint_share(played, fitted.data.action, dataset.spec),
    }
    if measured.propensity is not None and target.log_prob is not None:
        ratio = np.exp(target.log_prob(data.observation, data.action)) / measured.propensity
        value, episodes = importance_sampled_value(ratio, measured, gamma)
        figures |= {"importance_sampled": value, "effective_episodes": episodes}
    return figures
