"""Trains behaviour policies online with DecQN: `python -m spin_jax.collect.train_behaviour --task=… --workdir=DIR`.

Environments run in lockstep, with one batched policy call per step. Every `eval_every_frames` frames, and at the end, a
checkpoint is kept with its greedy returns; `ship.py` chooses `medium` and `expert` among them. Rerunning the command
resumes an interrupted run: learner, replay and frames continue, but not bit for bit, as running episodes start afresh.
"""

import dataclasses
import pathlib
import time
from typing import Annotated, Any

import jax
import numpy as np
from absl import flags

from spin_jax import command
from spin_jax.collect.exploration import Exploration
from spin_jax.collect.replay import MOST_BINS, Replay
from spin_jax.data.statistics import RunningStatistics
from spin_jax.envs.tasks import DM_CONTROL, EPISODE_STEPS
from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.errors import CheckpointError, ConfigError
from spin_jax.fields import KINDS, SEEDS, Batch, Count, CountOrZero, Fraction, Range, Section, Share, Size, SizeOrZero
from spin_jax.learners.base import Learner
from spin_jax.learners.decqn import DecQNConfig, DecQNState, NStep, make_decqn
from spin_jax.models.decqn import refine
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.files import NUMBER, Each, Fields, check_fields
from spin_jax.record.lock import locked
from spin_jax.record.metrics import MetricsWriter
from spin_jax.record.progress import Progress, log, setup_logging
from spin_jax.record.workdir import flat
from spin_jax.training.keys import stream
from spin_jax.types import Normaliser

NUMBERS = Each(list, NUMBER)
FIELDS: Fields = {
    **{"task": str, "bins": int, "seed": int, "frame": int, "seconds": NUMBER, "returns": NUMBERS},
    "statistics": {"count": NUMBER, "mean": NUMBERS, "m2": NUMBERS},
}
WAY_OUT = "Name the workdir of a run of spin_jax.collect.train_behaviour."
MAY_CHANGE = ("num_frames", "num_workers")  # nothing that is learned depends on them
UPDATES_AT_ONCE = 8  # gradient steps in one compiled program


@dataclasses.dataclass(frozen=True)
class BehaviourConfig(Section, where="--set="):
    """Settings of the online loop; a frame is one environment step."""

    num_frames: Count = 1_000_000
    num_envs: Size = 8
    num_workers: SizeOrZero = 0  # environment processes, 0 = inline
    random_frames: CountOrZero = 8_000  # uniform random joint actions first
    frames_per_update: Count = 4
    batch_size: Batch = 128
    n_step: Annotated[int, Range(1, EPISODE_STEPS)] = 3
    gamma: Fraction = 0.99
    explore: Annotated[float, Range(0, 1, below=True)] = 0.1  # p of collect.exploration
    hold: Share = 0.0  # probability a step that an environment begins to hold random choices (collect.exploration)
    replay_frames: Count = 1_000_000
    eval_every_frames: Count = 20_000
    eval_episodes: Size = 5
    learner: DecQNConfig = DecQNConfig()


def config_for(task: str) -> BehaviourConfig:
    """The settings for a task: above 12 slots, larger batches, fewer updates, a lower learning rate and min targets.

    quadruped-walk holds random choices: without that it learns to walk on its side, for half of the reward.
    """
    if DM_CONTROL[task].num_slots <= 12:
        return BehaviourConfig(hold=0.02 if task == "quadruped_walk" else 0.0)
    learner = DecQNConfig(learning_rate=1.5e-4, target="min")
    return BehaviourConfig(batch_size=256, frames_per_update=8, learner=learner)


def with_settings(config: BehaviourConfig, settings: list[str]) -> BehaviourConfig:
    """Replaces fields by 'name=value' strings ('explore=0.4', 'learner.width=512').

    Raises ConfigError, with the known names, for an unknown name or a missing value, and for values out of range.
    """
    for setting in settings:
        path, _, text = setting.partition("=")
        owner, _, name = path.rpartition(".")
        target: Any = getattr(config, owner, None) if owner else config
        names = [f.name for f in dataclasses.fields(target)] if dataclasses.is_dataclass(target) else []
        if name not in names or name == "learner" or not text:
            known = [f.name for f in dataclasses.fields(BehaviourConfig) if f.name != "learner"]
            known += [f"learner.{f.name}" for f in dataclasses.fields(DecQNConfig)]
            raise ConfigError(f"--set={setting}: write NAME=VALUE, NAME one of {', '.join(known)}.")
        kind = type(getattr(target, name))
        try:
            value = kind(text)
        except ValueError:
            raise ConfigError(f"--set={setting}: {name} must be {KINDS[kind]}.") from None
        target = dataclasses.replace(target, **{name: value})
        config = dataclasses.replace(config, learner=target) if owner else target
    return config


def exploration_normaliser(statistics: RunningStatistics) -> Normaliser:
    """The behaviour policy's normaliser: every feature is scaled, by a standard deviation of at least 1e-3."""
    std = np.maximum(statistics.std, 1e-3)
    return Normaliser(statistics.mean.astype(np.float32), std.astype(np.float32), np.float32(10))


def read_record(store: CheckpointStore, frame: int | None = None) -> dict:
    """What was saved with the policy of a frame (None = the last); raises CheckpointError if it is something else."""
    record = store.record(frame)
    check_fields(
        record, FIELDS, f"The record of frame {frame or 'last'} in {store.directory}", CheckpointError, WAY_OUT
    )
    return record


def start_from(workdir: pathlib.Path, frame: int | None, task: str, bins: int) -> tuple[list, dict]:
    """(critics, record) of a run with fewer bins at a frame (None = the last); the critics are refined to `bins`.

    Raises CheckpointError if there is no such checkpoint, or if it is of another task or has more bins.
    """
    store, facts = CheckpointStore(workdir / "policies", keep=None), DM_CONTROL[task]
    record = read_record(store, frame)
    if record["task"] != task or record["bins"] > bins:
        raise CheckpointError(f"{workdir} holds {record['task']} with {record['bins']} bins, not {task} with fewer.")
    coarse = make_decqn(facts.spec(record["bins"]), learner_config(record))
    critics = store.restore(fresh_state(coarse, task, 0), frame).critics
    return jax.tree.map(jax.numpy.asarray, [refine(c, facts.num_slots, bins) for c in critics]), record


def fresh_state(learner: Learner, task: str, seed: int) -> DecQNState:
    """The learner's state before the first update."""
    blank = np.zeros((1, DM_CONTROL[task].num_features), np.float32)
    return learner.init(stream(seed, "behaviour/init"), (), blank)


def learner_config(record: dict) -> DecQNConfig:
    """The learner settings that a checkpoint was trained with."""
    return DecQNConfig(**record["config"]["learner"]) if "config" in record else config_for(record["task"]).learner


class Training:
    """The state of an online run: the learner's state, the statistics of observations, the frames played so far.

    It resumes from the last checkpoint in workdir/policies. Without one, it starts from fresh critics, or from the
    policy of a run with fewer bins (workdir `coarse`, at coarse_frame; None = the last), and then explores with that
    policy at once, without random frames first.
    """

    def __init__(
        self,
        task: str,
        bins: int,
        workdir: pathlib.Path,
        seed: int,
        config: BehaviourConfig,
        coarse: pathlib.Path | None = None,
        coarse_frame: int | None = None,
    ):
        self.task, self.bins, self.workdir, self.seed, self.config = task, bins, workdir, seed, config
        self.learner = make_decqn(DM_CONTROL[task].spec(bins), config.learner)
        self.state, self.frame, self.started_from = fresh_state(self.learner, task, seed), 0, None
        self.statistics = RunningStatistics(DM_CONTROL[task].num_features)
        self._store = CheckpointStore(workdir / "policies", keep=None)
        record = None
        if self._store.steps():
            record = read_record(self._store)
            if (record["task"], record["bins"]) != (task, bins):
                raise ConfigError(
                    f"{workdir} holds {record['task']} with {record['bins']} bins: use another --workdir for {task} "
                    f"with {bins}."
                )
            self.state = self._store.restore(self.state)
            self.frame, self.started_from = record["frame"], record.get("started_from")
            log.info(f"Resuming from frame {self.frame} in {workdir}{self._changed_since(record)}.")
        elif coarse:
            critics, record = start_from(coarse, coarse_frame, task, bins)
            self.state = self.state._replace(critics=critics, target_critics=jax.tree.map(jax.numpy.copy, critics))
            self.started_from = {"bins": record["bins"], "frame": record["frame"]}
            log.info(f"Starting from the {record['bins']}-bin policy of frame {record['frame']} in {coarse}.")
        if record is not None:
            self.statistics.load_json(record["statistics"])
        self._exploration = Exploration(config.num_envs, DM_CONTROL[task].num_slots, bins, config.explore, config.hold)
        self._act = jax.jit(
            lambda state, normaliser, observation: self.learner.act(state, normaliser, observation, None)
        )
        self._learn = jax.jit(
            lambda state, normaliser, batches: jax.lax.scan(
                lambda s, b: self.learner.update(s, normaliser, b, None), state, batches
            ),
            donate_argnums=0,
        )

    def _changed_since(self, record: dict) -> str:
        """The settings that are other ones than the checkpoint was trained with, in words."""
        now = flat(dataclasses.asdict(self.config) | {"seed": self.seed})
        then = now | flat(record.get("config", {}) | {"seed": record["seed"]})  # older versions had fewer
        changed = [
            f"{name} {value} (was {then[name]})"
            for name, value in now.items()
            if name not in MAY_CHANGE and then[name] != value
        ]
        return f" with other settings from here on: {', '.join(changed)}" if changed else ""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Greedy joint actions [B, N]."""
        return np.asarray(self._act(self.state, exploration_normaliser(self.statistics), observation))

    def explore(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Joint actions [num_envs, N] to play while learning: first uniform, then greedy with exploration."""
        if self.frame < self.config.random_frames and not self.started_from:
            return self._exploration.uniform(rng)
        return self._exploration(self.act(observation), rng)

    def learn(self, batches: NStep) -> dict:
        """Takes UPDATES_AT_ONCE gradient steps and returns their metrics."""
        self.state, metrics = self._learn(self.state, exploration_normaliser(self.statistics), batches)
        return metrics

    def evaluate(self, envs: VectorEnv) -> list[float]:
        """Greedy returns of one episode on each environment."""
        seeds = [episode_seed(self.seed + 1, i) for i in range(envs.num_envs)]
        return [float(e.reward.sum()) for e in play_episodes(envs, lambda observation, _: self.act(observation), seeds)]

    def save(self, returns: list[float], seconds: float) -> None:
        """Saves the policy of this frame with its greedy returns."""
        record = {"task": self.task, "bins": self.bins, "seed": self.seed, "frame": self.frame, "returns": returns}
        record |= {"config": dataclasses.asdict(self.config), "started_from": self.started_from}
        self._store.save(self.frame, self.state, record | {"statistics": self.statistics.to_json(), "seconds": seconds})


def train_behaviour(training: Training) -> None:
    """Explores, learns from the replay, evaluates and saves until config.num_frames frames have been played."""
    task, bins, seed, config = training.task, training.bins, training.seed, training.config
    workdir = training.workdir
    rng = np.random.default_rng([seed, time.time_ns()])  # exploration and sampling; not replayed after a resume
    widths, n = (DM_CONTROL[task].num_features, DM_CONTROL[task].num_slots), config.num_envs
    replay = Replay(workdir / "replay", config.replay_frames, n, EPISODE_STEPS, widths)
    learned = {}
    with (
        VectorEnv(task, bins, n, config.num_workers) as envs,
        VectorEnv(task, bins, config.eval_episodes, config.num_workers) as eval_envs,
        MetricsWriter(workdir, training.frame or None) as writer,
        Progress(f"{task} {bins} bins", config.num_frames, training.frame, "frame", every_seconds=60) as progress,
    ):
        observation = envs.reset([episode_seed(seed, training.frame + i) for i in range(n)])
        for i in range(n):
            replay.begin(i, observation[i])
        while training.frame < config.num_frames:
            action = training.explore(observation, rng)
            training.statistics.add(observation)
            observation, reward, terminal, last = envs.step(action)
            replay.add(observation, action, reward, terminal)
            for i in map(int, np.flatnonzero(last)):
                observation[i] = envs.reset_one(i, episode_seed(seed, training.frame + i + 1))
                replay.begin(i, observation[i])
            before, training.frame = training.frame, training.frame + n

            def passed(interval: int, before: int = before) -> bool:
                return training.frame // interval > before // interval

            if training.frame >= config.random_frames and passed(config.frames_per_update * UPDATES_AT_ONCE):
                learned = training.learn(
                    replay.sample(rng, (UPDATES_AT_ONCE, config.batch_size), config.n_step, config.gamma)
                )
            if passed(config.eval_every_frames) or training.frame >= config.num_frames:
                returns = training.evaluate(eval_envs)
                training.save(returns, writer.seconds)
                means = {name: value.mean() for name, value in learned.items()}
                writer.write(training.frame, greedy_return=np.mean(returns), **means)
                told = f"{task} {bins} bins, frame {training.frame}, {writer.seconds:.0f} s"
                log.info(f"{told}: greedy return {np.mean(returns):.1f}")
            progress.update(training.frame)


def main(_: list[str]) -> None:
    setup_logging()
    config = dataclasses.replace(config_for(FLAGS.task), num_frames=FLAGS.frames, num_workers=FLAGS.num_workers)
    config = with_settings(config, FLAGS.set)
    coarse = pathlib.Path(FLAGS.start_from) if FLAGS.start_from else None
    workdir = pathlib.Path(FLAGS.workdir)
    with locked(workdir):
        train_behaviour(Training(FLAGS.task, FLAGS.bins, workdir, FLAGS.seed, config, coarse, FLAGS.start_frame))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", None, list(DM_CONTROL), "task to train on", required=True)
    flags.DEFINE_integer("bins", 3, "choices per action dimension", lower_bound=2, upper_bound=MOST_BINS)
    flags.DEFINE_string("workdir", None, "where checkpoints, replay and curves go", required=True)
    flags.DEFINE_integer("frames", 1_000_000, "environment steps in all", lower_bound=1)
    flags.DEFINE_integer("num_workers", 0, "environment processes; 0 steps them in this process", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "seed", lower_bound=0, upper_bound=SEEDS)
    flags.DEFINE_string("start_from", None, "workdir of a run with fewer bins, to start from its policy")
    flags.DEFINE_integer("start_frame", None, "its checkpoint of this frame; the last one if not given", lower_bound=0)
    flags.DEFINE_multi_string("set", [], "NAME=VALUE: another setting of BehaviourConfig, as explore=0.4; may repeat")
    command.run(main, resumes=True)
