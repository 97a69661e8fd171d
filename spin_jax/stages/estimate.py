"""Estimates, before the first long stage, how long all stages will take on this machine, from a few timed steps."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.config.build import has_stage
from spin_jax.config.sections import RunConfig
from spin_jax.envs.tasks import TASKS, flags_of
from spin_jax.from_config import make_learner, make_policy
from spin_jax.frozen.load import frozen_like
from spin_jax.learners.asm import make_asm_learner
from spin_jax.learners.base import Learner, state_like
from spin_jax.learners.fitted_q import make_fitted_q
from spin_jax.policies.base import Policy, encoded
from spin_jax.policies.cached import packed
from spin_jax.record.progress import duration, log
from spin_jax.record.workdir import Workdir
from spin_jax.registry import ENVS, POLICIES, PURE_ENVS
from spin_jax.stages.make_data import directory_of, episode_steps, expected_transitions, spaces_of
from spin_jax.stages.members import of_asm, seeds_of
from spin_jax.stages.stage import Stage
from spin_jax.training.keys import stream
from spin_jax.training.loop import make_run_chunk
from spin_jax.training.seeds import ONE, Seeds
from spin_jax.types import ActionSpec, Transition

LONG = 12 * 3600  # seconds; a longer run is also told the command that ends in minutes
FEW = 1000  # gradient steps; a run of fewer is over before long, and to time its steps would take a third of it
STEPS = 2  # gradient steps in one timed call
ROWS = 4096  # transitions of the random log that the timed steps draw from
SECONDS = 0.5  # shortest measurement


def announce(run: RunConfig, workdir: Workdir, stages: Sequence[str]) -> None:
    """Logs how long the unfinished stages will take; for a long run, also the command that ends in minutes.

    Only on a CPU: what is timed has to be compiled for it, in half a minute a stage on a GPU. Nothing is said of a run
    of FEW gradient steps, such as one of preset smoke.
    """
    if jax.default_backend() != "cpu" or len(jax.devices()) > 1:
        return
    left = [name for name in stages if workdir.summary(name) is None]
    if not set(left) & {"pretrain", "distill", "policy"}:
        return
    if sum(planned_steps(run, name) for name in left if has_stage(run.policy, name)) < FEW:
        return
    log.info("estimate: timing a few steps of every stage on this machine …")
    seconds = Estimate(run, workdir).seconds(left)
    total = duration(sum(seconds.values()))
    parts = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    log.info(f"estimate: {parts}; in all about {total}")
    if sum(seconds.values()) > LONG:
        log.info(
            f"This run takes about {total} on this machine. It begins now; it can be stopped at any time, and the same "
            f"command resumes it. Preset quick of the same task ends in minutes:\n"
            f"  python main.py {flags_of(run.task, 'quick')} --workdir=ANOTHER_DIRECTORY"
        )


def planned_steps(run: RunConfig, stage: str) -> int:
    """The gradient steps of a stage; of off-policy evaluation, those of all the policies that it judges."""
    if stage == "pretrain":
        rows = run.asm.top_fraction * expected_transitions(run)
        return run.asm.num_epochs * math.ceil(rows / run.asm.batch_size)
    policies = run.num_seeds * run.train.keep_policies + 2  # the cloned behaviour and chance are judged, too
    return {
        "distill": getattr(run.policy_config, "steps", 0),
        "policy": run.train.num_steps,
        "ope": policies * run.ope.steps,
    }.get(stage, 0)


class Estimate:
    """Times single steps of a run on random arrays with the run's shapes."""

    def __init__(self, run: RunConfig, workdir: Workdir):
        self._run, self._workdir, spaces = run, workdir, spaces_of(run)
        self._spec, self._num_features, self._seeds = spaces.spec, spaces.num_features, seeds_of(run)
        self._frozen = random_frozen(run, self._spec, self._num_features)
        self._policy = make_policy(run, self._spec)
        self._learner = make_learner(run, self._policy, self._spec)

    def seconds(self, stages: Sequence[str]) -> dict[str, float]:
        """{stage: seconds} for those of `stages` that the configured policy has."""
        measures = {
            "data": self._data,
            "pretrain": self._pretrain,
            "distill": self._distill,
            "policy": self._train,
            "evaluate": self._evaluate,
            "ope": self._off_policy,
        }
        return {name: measures[name]() for name in stages if has_stage(self._run.policy, name)}

    def _data(self) -> float:
        """Seconds to roll out all splits; 0 if the data set exists."""
        if directory_of(self._run).is_dir():
            return 0.0
        steps = len(TASKS[self._run.task].levels) * self._run.data.episodes * episode_steps(self._run)
        return steps * self._control_seconds / max(self._run.data.num_workers, 1)

    def _pretrain(self) -> float:
        config, steps = self._run.asm, planned_steps(self._run, "pretrain")
        learner = make_asm_learner(self._spec, config.model, config.masking_config, config.optimiser(steps))
        run = of_asm(self._run)
        return self._left("pretrain", steps, run) * self._step(learner, (), config.batch_size, seeds_of(run))(0)

    def _distill(self) -> float:
        config, make_distiller = self._run.policy_config, POLICIES[self._run.policy].distiller
        assert make_distiller is not None  # config.build.has_stage
        learner = make_distiller(self._spec, self._run.asm.model, config)
        step = self._step(learner, self._frozen["asm"], config.batch_size, self._seeds)
        return self._left("distill", planned_steps(self._run, "distill")) * step(0)

    def _train(self) -> float:
        """Seconds of gradient steps before and after the policy starts to learn, and of evaluations if they block."""
        run, num_steps = self._run, self._run.train.num_steps
        left, starts = self._left("policy", num_steps), self._run.learner_config.policy_starts_at
        later = min(left, num_steps - min(starts, num_steps))
        step = self._step(self._learner, self._frozen, run.train.batch_size, self._seeds, self._policy)
        total = sum(steps * step(at) for steps, at in ((left - later, 0), (later, starts)) if steps)
        if run.simulated and run.eval.asynchronous == "off":
            total += (1 + left // run.eval.every_steps) * self._playing_seconds(run.eval.episodes)
        return total

    def _evaluate(self) -> float:
        return self._playing_seconds(self._run.eval.final_episodes)

    def _off_policy(self) -> float:
        """Seconds of fitted Q evaluation of the trained policies, the cloned behaviour and chance."""
        config = self._run.ope
        learner = make_fitted_q(self._spec, config, -1.0, 1.0)
        slots, rows = (ROWS, config.draws, self._spec.num_slots), (ROWS, config.members)
        given: dict[str, Any] = {"x": np.ones(rows, np.float32), "next_x": np.zeros(slots, np.int32)}
        return planned_steps(self._run, "ope") * self._step(learner, (), config.batch_size, ONE, **given)(0)

    def _left(self, name: str, steps: int, run: RunConfig | None = None) -> int:
        """Gradient steps left in a stage; run: the one that it is a stage of, if that is not the whole run."""
        return max(steps - Stage(name, run or self._run, self._workdir, batch_size=1).start, 0)

    def _step(
        self, learner: Learner, frozen: Any, batch_size: int, seeds: Seeds, policy: Policy | None = None, **given: Any
    ) -> Callable[[int], float]:
        """A function seconds(at): the time of one gradient step of all seeds after `at` steps.

        given: fields of the random log that the learner reads beside those of every log.
        """
        data = random_log(self._spec, self._num_features, ROWS, policy, frozen)._replace(**given)
        run_chunk = make_run_chunk(learner, batch_size, STEPS, seeds=seeds)
        key = seeds.bundle([stream(0, "estimate")] * seeds.num)
        blank = seeds.bundle([_blank_state(learner, frozen, data.observation[:1])] * seeds.num)

        def seconds(at: int) -> float:
            state = [jax.tree.map(jnp.copy, blank._replace(step=jnp.full_like(blank.step, at)))]

            def call():
                state[0] = jax.block_until_ready(run_chunk(state[0], frozen, data, key, at)[0])

            return _seconds_of(call) / STEPS

        return seconds

    @functools.cached_property
    def _control_seconds(self) -> float:
        """Seconds of a control step of one environment."""
        env = ENVS[self._run.task](self._run.task, self._run.bins)
        action = np.zeros(self._spec.num_slots, int)
        env.reset(0)

        def step():
            if env.step(action)[-1]:
                env.reset(0)

        return _seconds_of(step)

    def _playing_seconds(self, episodes: int) -> float:
        """Seconds to play `episodes` whole episodes of each seed in lockstep, with one policy call per control step."""
        observation = np.zeros((episodes * self._seeds.num, self._num_features), np.float32)
        state = _blank_state(self._learner, self._frozen, observation[:1])
        act = jax.jit(self._learner.act)
        call = _seconds_of(lambda: np.asarray(act(state, self._frozen, observation, stream(0, "estimate"))))
        if self._run.task in PURE_ENVS:  # the compiled roll-out is hardly more than its calls of the policy
            return episode_steps(self._run) * call
        playing = len(observation) * self._control_seconds / max(self._run.eval.num_workers, 1)
        return episode_steps(self._run) * (playing + call)


def _blank_state(learner: Learner, frozen: Any, observation: Any) -> Any:
    """The learner's state with zeros everywhere; making it compiles nothing."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state_like(learner, frozen, observation))


def _seconds_of(call: Callable[[], Any]) -> float:
    """Mean seconds of a call; a first call, which compiles, is not counted."""
    call()
    begin, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - begin < SECONDS:
        call()
        calls += 1
    return (time.perf_counter() - begin) / calls


def random_log(
    spec: ActionSpec, num_features: int, rows: int, policy: Policy | None = None, frozen: Any = ()
) -> Transition:
    """Random transitions on the device, with x if the policy has an encoder; no step's time depends on the values."""
    rng = np.random.default_rng(0)
    observation, following = rng.normal(size=(2, rows, num_features)).astype(np.float32)
    action = rng.integers(0, np.asarray(spec.cardinalities), (rows, spec.num_slots)).astype(np.int32)
    reward = rng.random(rows).astype(np.float32)
    x = None
    if policy is not None and policy.encode is not None:
        shape = jax.eval_shape(lambda: encoded(policy, frozen, observation)).shape
        x = packed(rng.normal(size=shape))
    return jax.device_put(Transition(observation, action, reward, np.ones_like(reward), following, x, x))


def random_frozen(run: RunConfig, spec: ActionSpec, num_features: int) -> Any:
    """Random arrays with the shapes of what stage 2 reads but never trains."""
    shapes = frozen_like(run, spec, num_features)
    rng = np.random.default_rng(0)
    return jax.device_put(jax.tree.map(lambda leaf: 0.1 * rng.normal(size=leaf.shape).astype(leaf.dtype), shapes))
