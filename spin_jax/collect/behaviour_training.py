"""The state of an online run of DecQN, and what its checkpoints hold."""

import dataclasses
import pathlib

import jax
import numpy as np

from spin_jax.collect.behaviour_config import BehaviourConfig, config_for
from spin_jax.collect.exploration import Exploration
from spin_jax.collect.humanoid_lesson import HumanoidLesson
from spin_jax.collect.humanoid_symmetry import Symmetry
from spin_jax.data.statistics import RunningStatistics
from spin_jax.envs.base import MakeEnv
from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.envs.vector import VectorEnv, episode_seed, play_episodes
from spin_jax.errors import CheckpointError, ConfigError
from spin_jax.learners.base import Learner
from spin_jax.learners.decqn import DecQNConfig, DecQNState, NStep, make_decqn
from spin_jax.models.decqn import refine
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.files import NUMBER, Each, Fields, check_fields
from spin_jax.record.progress import log
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
    policy at once, without random frames first. make_env makes the environments to learn in, which are other ones than
    those of the task for humanoid-stand alone.
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
        self.make_env: MakeEnv = DMControlEnv
        symmetric = None
        if task == "humanoid_stand":
            self.make_env, symmetric = HumanoidLesson, Symmetry(DMControlEnv(task, bins))
        key = stream(seed, "behaviour/symmetry")

        def step(state: DecQNState, normaliser: Normaliser, batch: NStep) -> tuple[DecQNState, dict]:
            if symmetric is not None:
                batch = symmetric(batch, jax.random.fold_in(key, state.step))
            return self.learner.update(state, normaliser, batch, None)

        self._learn = jax.jit(
            lambda state, normaliser, batches: jax.lax.scan(lambda s, b: step(s, normaliser, b), state, batches),
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
