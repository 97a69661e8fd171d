"""Train behaviour policies online with DecQN: `python -m spin_jax.collect.train_behaviour --task=cheetah_run`.

Environments run in lockstep with one batched policy call a step. Every `eval_every_frames` a checkpoint is kept with
its greedy returns; `ship.py` makes `medium` and `expert` of two of them. The same command goes on after an
interruption: learner, replay and frames continue (not bit for bit: running episodes start afresh).
"""

import dataclasses
import functools
import pathlib
import time

import jax
import numpy as np
from absl import app, flags

from spin_jax.collect.replay import Replay
from spin_jax.data.statistics import RunningStatistics
from spin_jax.envs.tasks import EPISODE_STEPS, TASKS
from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.errors import CheckpointError
from spin_jax.learners.base import Learner
from spin_jax.learners.decqn import DecQNConfig, DecQNState, make_decqn
from spin_jax.models.decqn import refine
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.metrics import MetricsWriter
from spin_jax.record.progress import Progress, log, setup_logging
from spin_jax.types import Normaliser

UPDATES_AT_ONCE = 8  # gradient steps in one compiled program


@dataclasses.dataclass(frozen=True)
class BehaviourConfig:
    """Settings of the online loop; a frame is one environment step."""

    num_frames: int = 1_000_000
    num_envs: int = 8
    num_workers: int = 0  # environment processes, 0 = inline
    random_frames: int = 8_000  # uniform random joint actions first
    frames_per_update: int = 4
    batch_size: int = 128
    n_step: int = 3
    gamma: float = 0.99
    explore: float = 0.1  # p: each slot is random with probability (p / N) / (p / N + 1 - p)
    replay_frames: int = 1_000_000
    eval_every_frames: int = 20_000
    eval_episodes: int = 5
    learner: DecQNConfig = DecQNConfig()


def config_for(task: str) -> BehaviourConfig:
    """The recipe by number of slots: from about 20 on, larger batches, fewer updates, a smaller step, min targets."""
    if TASKS[task].num_slots <= 12:
        return BehaviourConfig()
    learner = DecQNConfig(learning_rate=1.5e-4, target="min")
    return BehaviourConfig(batch_size=256, frames_per_update=8, learner=learner)


def with_settings(config: BehaviourConfig, settings: list[str]) -> BehaviourConfig:
    """Replace fields by 'name=value' strings ('explore=0.4', 'learner.width=512'); ValueError names an unknown one."""
    for setting in settings:
        path, _, text = setting.partition("=")
        owner, _, name = path.rpartition(".")
        target = getattr(config, owner, None) if owner else config
        names = [f.name for f in dataclasses.fields(target)] if dataclasses.is_dataclass(target) else []
        if name not in names or name == "learner" or not text:
            known = [f.name for f in dataclasses.fields(BehaviourConfig) if f.name != "learner"]
            known += [f"learner.{f.name}" for f in dataclasses.fields(DecQNConfig)]
            raise ValueError(f"--set={setting}: write NAME=VALUE, NAME one of {', '.join(known)}.")
        target = dataclasses.replace(target, **{name: type(getattr(target, name))(text)})
        config = dataclasses.replace(config, learner=target) if owner else target
    return config


def exploration_normaliser(statistics: RunningStatistics) -> Normaliser:
    """What the behaviour policy sees: every feature is scaled, by 1e-3 at least."""
    std = np.maximum(statistics.std, 1e-3)
    return Normaliser(statistics.mean.astype(np.float32), std.astype(np.float32), np.float32(10))


def start_from(
    workdir: pathlib.Path, frame: int | None, task: str, bins: int, learner: Learner
) -> tuple[DecQNState, dict]:
    """(state, record) of a run with fewer bins at a frame (None = the last), its critics refined to `bins`.

    Raises CheckpointError where there is none or it is of another task.
    """
    store, spec = CheckpointStore(workdir / "policies", keep=None), TASKS[task]
    record = store.record(frame)
    if record["task"] != task or record["bins"] > bins:
        raise CheckpointError(f"{workdir} holds {record['task']} with {record['bins']} bins, not {task} with fewer.")
    coarse = make_decqn(spec.spec(record["bins"]), spec.num_features, learner_config(record))
    critics = store.restore(coarse.init(jax.random.key(0)), frame).critics
    critics = jax.tree.map(jax.numpy.asarray, [refine(c, spec.num_slots, bins) for c in critics])
    state = learner.init(jax.random.key(0))
    return state._replace(critics=critics, target_critics=jax.tree.map(jax.numpy.copy, critics)), record


def learner_config(record: dict) -> DecQNConfig:
    """The learner's settings of a checkpoint."""
    return DecQNConfig(**record["config"]["learner"]) if "config" in record else config_for(record["task"]).learner


def train_behaviour(
    task: str,
    bins: int,
    workdir: pathlib.Path,
    seed: int,
    config: BehaviourConfig,
    coarse: pathlib.Path | None = None,
    coarse_frame: int | None = None,
):
    """Explore, learn from the replay, evaluate and keep, until config.num_frames frames have been played.

    coarse: workdir of a run with fewer bins, whose policy of coarse_frame (None = the last) a new run starts from, and
    explores with at once.
    """
    rng = np.random.default_rng([seed, time.time_ns()])  # exploration and sampling; not replayed after a resume
    store = CheckpointStore(workdir / "policies", keep=None)
    envs = VectorEnv(task, bins, config.num_envs, config.num_workers)
    eval_envs = VectorEnv(task, bins, config.eval_episodes, config.num_workers)
    num_slots, num_features = envs.spec.num_slots, TASKS[task].num_features
    learner = make_decqn(envs.spec, num_features, config.learner)
    state, statistics, frame = learner.init(jax.random.key(seed)), RunningStatistics(num_features), 0
    replay = Replay(workdir / "replay", config.replay_frames, config.num_envs, EPISODE_STEPS, (num_features, num_slots))
    if store.steps():
        state, record = store.restore(state), store.record()
        frame = record["frame"]
        statistics.load_json(record["statistics"])
        log.info(f"Going on from frame {frame} in {workdir}, with {replay.size} transitions in the replay.")
    started = record.get("started_from") if store.steps() else None
    if coarse and not store.steps():
        state, record = start_from(coarse, coarse_frame, task, bins, learner)
        started = {"bins": record["bins"], "frame": record["frame"]}
        statistics.load_json(record["statistics"])
        log.info(f"Starting from the {record['bins']}-bin policy of frame {record['frame']} in {coarse}.")

    act = jax.jit(lambda state, normaliser, observation: learner.act(state, normaliser, observation, None))

    @functools.partial(jax.jit, donate_argnums=0)
    def learn(state, normaliser, batches):
        return jax.lax.scan(lambda s, b: learner.update(s, normaliser, b, None), state, batches)

    def evaluate() -> list[float]:
        normaliser = exploration_normaliser(statistics)
        seeds = [episode_seed(seed + 1, i) for i in range(config.eval_episodes)]
        episodes = play_episodes(eval_envs, lambda o, _: act(state, normaliser, o), seeds)
        return [float(e.reward.sum()) for e in episodes]

    explore = config.explore / num_slots
    explore = explore / (explore + 1 - config.explore)
    observation = envs.reset([episode_seed(seed, frame + i) for i in range(config.num_envs)])
    for i in range(config.num_envs):
        replay.begin(i, observation[i])
    learned, writer = {}, MetricsWriter(workdir, frame)
    progress = Progress(f"{task} {bins} bins", config.num_frames, frame, "frame", every_seconds=60)
    while frame < config.num_frames:
        action = rng.integers(0, bins, (config.num_envs, num_slots))
        if frame >= config.random_frames or started:
            best = np.asarray(act(state, exploration_normaliser(statistics), observation))
            action = np.where(rng.random(action.shape) < explore, action, best)
        statistics.add(observation)
        observation, reward, terminal, last = envs.step(action)
        replay.add(observation, action, reward, terminal)
        for i in np.flatnonzero(last):
            observation[i] = envs.reset_one(int(i), episode_seed(seed, frame + int(i) + 1))
            replay.begin(int(i), observation[i])
        before, frame = frame, frame + config.num_envs

        def passed(interval, before=before, frame=frame):
            return frame // interval > before // interval

        if frame >= config.random_frames and passed(config.frames_per_update * UPDATES_AT_ONCE):
            batches = replay.sample(rng, (UPDATES_AT_ONCE, config.batch_size), config.n_step, config.gamma)
            state, learned = learn(state, exploration_normaliser(statistics), batches)
        if passed(config.eval_every_frames):
            returns = evaluate()
            writer.write(frame, greedy_return=np.mean(returns), **{k: v.mean() for k, v in learned.items()})
            record = {"task": task, "bins": bins, "seed": seed, "frame": frame, "returns": returns}
            record |= {"config": dataclasses.asdict(config), "started_from": started}
            store.save(frame, state, record | {"statistics": statistics.to_json(), "seconds": writer.seconds})
            log.info(f"{task} {bins} bins, frame {frame}, {writer.seconds:.0f} s: greedy return {np.mean(returns):.1f}")
        progress.update(frame)
    for thing in (envs, eval_envs, writer, progress):
        thing.close()


def main(_):
    setup_logging()
    config = dataclasses.replace(config_for(FLAGS.task), num_frames=FLAGS.frames, num_workers=FLAGS.num_workers)
    config = with_settings(config, FLAGS.set)
    coarse = pathlib.Path(FLAGS.start_from) if FLAGS.start_from else None
    train_behaviour(FLAGS.task, FLAGS.bins, pathlib.Path(FLAGS.workdir), FLAGS.seed, config, coarse, FLAGS.start_frame)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", None, list(TASKS), "task to train on", required=True)
    flags.DEFINE_integer("bins", 3, "choices per action dimension", lower_bound=2)
    flags.DEFINE_string("workdir", None, "where checkpoints, replay and curves go", required=True)
    flags.DEFINE_integer("frames", 1_000_000, "environment steps in all")
    flags.DEFINE_integer("num_workers", 0, "environment processes; 0 steps them in this process")
    flags.DEFINE_integer("seed", 0, "seed")
    flags.DEFINE_string("start_from", None, "workdir of a run with fewer bins, to start from its policy")
    flags.DEFINE_integer("start_frame", None, "its checkpoint of this frame; the last one if not given")
    flags.DEFINE_multi_string("set", [], "NAME=VALUE: another setting of BehaviourConfig, as explore=0.4; may repeat")
    app.run(main)
