"""Off-policy evaluation: judges the trained policy from the log alone, beside the cloned behaviour and chance."""

import dataclasses
import functools
import os
import pathlib
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.errors import ConfigError, WorkdirError
from spin_jax.evaluation.behaviour import Behaviour, clone_behaviour
from spin_jax.evaluation.off_policy import Log, blocks, draw, fitted_value, importance_sampled_value
from spin_jax.evaluation.support import in_words, joint_share, slot_support
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.learners.base import Learner
from spin_jax.record.checkpoint import CheckpointStore, digest, flatten
from spin_jax.record.files import read_json, write_json
from spin_jax.record.progress import log as message
from spin_jax.record.workdir import JUDGED, Workdir
from spin_jax.stages.evaluate_policy import last_step, load_policy
from spin_jax.stages.make_data import load_data
from spin_jax.stages.members import Member, members
from spin_jax.training.keys import stream
from spin_jax.types import ActionSpec, Transition, normalise

DRAWS = 64  # actions a state from which the probabilities of a policy's choices are estimated where it has no formula


class Target(NamedTuple):
    """A policy to be judged; observations are as they stand in the log.

    act(observation [B, S], key) -> [B, N]. probabilities(observation [B, S]) -> [B, N, K] of independent slots, both
    for jax.jit; None where slots depend on each other: then their marginals are estimated from DRAWS actions a state.
    digest: tells the policy's parameters from others; empty where it has none.
    """

    name: str
    act: Callable
    probabilities: Callable | None
    origin: Mapping[str, Any] = types.MappingProxyType({})  # where it comes from, such as its seed and step
    digest: str = ""

    def marginals(self, observation: np.ndarray, spec: ActionSpec, key: jax.Array) -> np.ndarray:
        """The probability of each slot's choices, [T, N, K]."""
        if self.probabilities is None:
            drawn = draw(self.act, observation, DRAWS, key)
            return np.stack([(drawn == k).mean(0) for k in range(spec.num_choices)], axis=-1)
        exact = jax.jit(self.probabilities)
        return np.concatenate([exact(observation[at]) for at in blocks(len(observation))])


def off_policy_evaluation(run: RunConfig, workdir: Workdir, dataset: Dataset, others: Sequence[Target] = ()) -> dict:
    """Judges every kept policy of every seed, and others; records and returns the figures (shown by report.judgement).

    What is finished is kept in workdir/ope, one file for each policy, and not computed again with the same settings on
    the same log for the same parameters. Raises ConfigError if two policies have one name.
    """
    begin, config, spec, step = time.monotonic(), run.ope, dataset.spec, last_step(run, members(run, workdir))
    fitted, measured = logs(run, dataset)
    draws_key = stream(run.seed, "ope/draws")
    settings = settings_of(run, dataset, measured.propensity)

    @functools.cache  # nothing is cloned where everything was judged before
    def cloned() -> tuple[Behaviour, Target, np.ndarray]:
        key = stream(run.seed, "ope/clone")
        behaviour = clone_behaviour(fitted, measured, spec, dataset.normaliser, run.asm.model, config.clone_steps, key)
        target = Target("behaviour, cloned", behaviour.act, behaviour.probabilities)
        return behaviour, target, target.marginals(measured.data.observation, spec, draws_key)

    def judge(target: Target) -> dict:
        what, key = f"ope: {target.name}", stream(run.seed, "ope/fit")
        _, _, theirs = cloned()
        value = fitted_value(target.act, fitted, measured, spec, dataset.normaliser, config, key, what)
        message.info(f"{what}: value {value.mean:.2f} ({value.low:.2f} to {value.high:.2f})")
        return value._asdict() | judged(target, theirs, fitted, measured, dataset, config.gamma, draws_key)

    def judge_clone() -> dict:
        behaviour, target, _ = cloned()
        return judge(target) | {"nll": behaviour.nll}

    directory, policies = workdir.stage("ope"), {}
    for target in (*trained(run, members(run, workdir), dataset), *others, uniform(spec)):
        if target.name in policies:
            raise ConfigError(f"--against names two policies that are called {target.name!r}: rename one's workdir.")
        made = settings | {"origin": dict(target.origin), "policy": target.digest}
        policies[target.name] = _kept(directory, target.name, made, functools.partial(judge, target))
    policies["behaviour, cloned"] = _kept(directory, "behaviour, cloned", settings, judge_clone)
    returns = measured.discounted_returns(config.gamma)
    summary = {
        "seconds": time.monotonic() - begin,
        "step": step,
        "num_steps": run.train.num_steps,
        "gamma": config.gamma,
        "measured_on": dataset.probe_name,
        "episodes": len(measured.lengths),
        "log_return": float(returns.mean()),
        "log_return_error": float(returns.std() / len(returns) ** 0.5),
        "unseen_share": measured.unseen_share(config.gamma),
        "slots": list(dataset.spaces.slots),
        "policies": policies,
    }
    return workdir.finish("ope", summary)


def settings_of(run: RunConfig, dataset: Dataset, propensity: np.ndarray | None) -> dict:
    """What figures are kept under; propensities are no part of the log's fingerprint."""
    found = {"ope": dataclasses.asdict(run.ope), "mode": run.eval.mode, "log": dataset.fingerprint}
    return found if propensity is None else found | {"propensity": digest({"propensity": propensity})}


def _kept(directory: pathlib.Path, name: str, settings: dict, judge: Callable[[], dict]) -> dict:
    """The figures of a policy as they were recorded with these settings, or else as `judge` finds them now."""
    path = directory / f"{name.replace(', ', '_').replace(' ', '_')}.json"
    if os.path.lexists(path):
        way_out = "Delete it: the policy is then judged anew."
        record = read_json(path, WorkdirError, way_out, {"settings": dict, "figures": JUDGED})
        if record["settings"] == settings:
            return record["figures"] | settings.get("origin", {})
    figures = judge()
    write_json(path, {"settings": settings, "figures": figures})
    return figures | settings.get("origin", {})


def best_step(found: dict, seed: int) -> int | None:
    """The kept step of a seed that the log supports and whose value is the highest; None if no step is supported."""
    own = [one for one in found["policies"].values() if one.get("seed") == seed and one["supported"]]
    return max(own, key=lambda one: one["mean"])["step"] if own else None


def logs(run: RunConfig, dataset: Dataset) -> tuple[Log, Log]:
    """(the rows that values are fitted on, the held-out rows that they are measured on), steps one by one.

    dataset: the run's log as stage 2 reads it, perhaps with the rewards of several steps in a row.
    """
    if run.train.n_step != 1:
        dataset = load_data(dataclasses.replace(run, train=dataclasses.replace(run.train, n_step=1)))
    measured = Log(dataset.probe, dataset.probe_lengths, dataset.probe_propensity)
    assert isinstance(dataset.train, Transition)  # config.build.stages_of refuses a stream
    return Log(dataset.train, dataset.lengths), measured


def uniform(spec: ActionSpec) -> Target:
    """The policy that chooses uniformly in every slot."""
    cardinalities = np.asarray(spec.cardinalities)
    shares = spec.valid / cardinalities[:, None]

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (observation.shape[0], spec.num_slots), 0, cardinalities[None, :])

    def probabilities(observation: jax.Array) -> jax.Array:
        return jnp.broadcast_to(shares[None], (observation.shape[0], *shares.shape))

    return Target("uniform", act, probabilities)


def trained(run: RunConfig, team: Sequence[Member], dataset: Dataset) -> list[Target]:
    """The trained policies of all seeds, each at every step that is kept."""
    found = []
    for member in team:
        seed = f"seed {member.run.seed}, " if len(team) > 1 else ""
        steps = CheckpointStore(member.state("policy"), keep=None).steps()
        for step in steps[-run.train.keep_policies :]:
            learner, states, asms = load_policy(run, [member], dataset, step)
            name = f"{run.policy}, {seed}step {step}"
            target = _target(name, run, learner, states[0], asms[0], dataset.spec)
            parameters = f"{digest(flatten(states[0]))} {asms[0].digest}"
            found.append(target._replace(origin={"seed": member.run.seed, "step": step}, digest=parameters))
    return found


def _target(name: str, run: RunConfig, learner: Learner, state: Any, asm: FrozenASM, spec: ActionSpec) -> Target:
    greedy, known = run.eval.mode == "greedy", learner.probabilities

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        return learner.act(state, asm.params, normalise(asm.normaliser, observation), None if greedy else key)

    def probabilities(observation: jax.Array) -> jax.Array:
        rows = normalise(asm.normaliser, observation)
        if greedy:
            return jax.nn.one_hot(learner.act(state, asm.params, rows, None), spec.num_choices)
        assert known is not None  # else the target has none
        return known(state, asm.params, rows)

    return Target(name, act, probabilities if greedy or known is not None else None)


def judged(
    target: Target, theirs: np.ndarray, fitted: Log, measured: Log, dataset: Dataset, gamma: float, key: jax.Array
) -> dict:
    """What the log can say of a policy beside its value."""
    data = measured.data
    ours = target.marginals(data.observation, dataset.spec, key)
    support = slot_support(ours, theirs, data.action, dataset.spec)
    played = draw(target.act, data.observation, 1, key)[0]
    figures = {name: np.asarray(column).tolist() for name, column in support._asdict().items()} | {
        "supported": bool(support.supported.all()),
        "verdict": in_words(support, dataset.spaces.slots),
        "joint_share": joint_share(played, fitted.data.action, dataset.spec),
    }
    if measured.propensity is not None and target.probabilities is not None:
        chosen = np.take_along_axis(ours, data.action[..., None].astype(int), -1)[..., 0]
        with np.errstate(divide="ignore"):  # log 0 = -inf: the policy never plays that
            log_ratio = np.log(chosen.astype(np.float64)).sum(-1) - np.log(measured.propensity.astype(np.float64))
        value, episodes = importance_sampled_value(log_ratio, measured, gamma)
        figures |= {"importance_sampled": value, "effective_episodes": episodes}
    return figures
