"""Trains behaviour policies online with DecQN: `python -m spin_jax.collect.train_behaviour --task=… --workdir=DIR`.

Environments run in lockstep, with one batched policy call per step. Every `eval_every_frames` frames, and at the end, a
checkpoint is kept with its greedy returns; `ship.py` chooses `medium` and `expert` among them. Rerunning the command
resumes an interrupted run: learner, replay and frames continue, but not bit for bit, as running episodes start afresh.
"""

import dataclasses
import pathlib
import time

import numpy as np
from absl import flags

from spin_jax import command
from spin_jax.collect.behaviour_config import config_for, with_settings
from spin_jax.collect.behaviour_training import UPDATES_AT_ONCE, Training
from spin_jax.collect.replay import MOST_BINS, Replay
from spin_jax.envs.tasks import DM_CONTROL, EPISODE_STEPS
from spin_jax.envs.vector import VectorEnv, episode_seed
from spin_jax.fields import SEEDS
from spin_jax.record.lock import locked
from spin_jax.record.metrics import MetricsWriter
from spin_jax.record.progress import Progress, log, setup_logging


def train_behaviour(training: Training) -> None:
    """Explores, learns from the replay, evaluates and saves until config.num_frames frames have been played."""
    task, bins, seed, config = training.task, training.bins, training.seed, training.config
    workdir = training.workdir
    rng = np.random.default_rng([seed, time.time_ns()])  # exploration and sampling; not replayed after a resume
    widths, n = (DM_CONTROL[task].num_features, DM_CONTROL[task].num_slots), config.num_envs
    replay = Replay(workdir / "replay", config.replay_frames, n, EPISODE_STEPS, widths)
    learned = {}
    with (
        VectorEnv(task, bins, n, config.num_workers, training.make_env) as envs,
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
