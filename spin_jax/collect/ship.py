"""Chooses and ships behaviour policies: `python -m spin_jax.collect.ship --task=cheetah_run --workdir=DIR`.

For each level, the CANDIDATES most fitting checkpoints of a training run, by their greedy returns, are played again for
20 episodes. `expert` is the one with the highest return. `medium` is the one nearest to `medium_share` of the expert's
return; it is taken from the checkpoints up to the first that reached 60 % of the expert's return.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from spin_jax import command
from spin_jax.collect.behaviour_policy import load_policy, read_card, save_policy, weights_path
from spin_jax.collect.behaviour_training import exploration_normaliser, fresh_state, learner_config, read_record
from spin_jax.collect.replay import MOST_BINS
from spin_jax.collect.rollout import play_policy
from spin_jax.data.statistics import RunningStatistics
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.envs.vector import VectorEnv, episode_seed
from spin_jax.errors import CheckpointError
from spin_jax.learners.decqn import make_decqn
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.progress import log, setup_logging

EPISODES = 20
EVALUATION_SEED = 10_000  # seed of the episodes that a card reports
CANDIDATES = 5


def ship(
    task: str,
    bins: int,
    workdir: pathlib.Path,
    medium_share: float,
    num_workers: int,
    levels: Sequence[str] = ("expert", "medium"),
) -> None:
    """Writes the weights and cards of the levels into the package; 'medium' alone uses the expert already shipped."""
    store = CheckpointStore(workdir / "policies", keep=None)
    records = {step: read_record(store, step) for step in store.steps()}
    if not records:
        raise CheckpointError(f"--workdir={workdir}: no policies of train_behaviour are there (no {store.directory}).")
    mean = {step: np.mean(record["returns"]) for step, record in records.items()}
    with VectorEnv(task, bins, EPISODES, num_workers) as envs:
        config = learner_config(records[max(records)])
        like = fresh_state(make_decqn(envs.spec, config), task, 0)
        seeds = [episode_seed(EVALUATION_SEED, i) for i in range(EPISODES)]

        def save(step: int, path: pathlib.Path, card: dict):
            statistics = RunningStatistics(DM_CONTROL[task].num_features)
            statistics.load_json(records[step]["statistics"])
            save_policy(path, store.restore(like, step).critics, exploration_normaliser(statistics), card)

        def played(step: int, path: pathlib.Path) -> dict:
            """Saves the checkpoint at `path`, plays it as it will be used (float16, numpy) and returns its card."""
            record = records[step]
            card = {"task": task, "bins": bins, "level": path.stem.rsplit("_", 1)[-1], "frames": record["frame"]}
            save(step, path, card)
            act = load_policy(path, envs.spec.num_slots)
            returns = [float(e.reward.sum()) for e in play_policy(envs, act, seeds)]
            card |= {"return_mean": round(float(np.mean(returns)), 2), "return_std": round(float(np.std(returns)), 2)}
            made_by = "python -m spin_jax.collect.train_behaviour (online DecQN), greedy policy, float16 weights"
            card |= {"episodes": EPISODES, "seed": record["seed"], "seconds": record["seconds"], "made_by": made_by}
            log.info(f"{path.stem}: frame {step}, return {card['return_mean']} ± {card['return_std']}")
            return card

        def choose(level: str, among: list, distance):
            path = weights_path(task, bins, level)
            candidates = sorted(among, key=lambda step: distance(mean[step]))[:CANDIDATES]
            cards = {step: played(step, path) for step in candidates}
            best = min(candidates, key=lambda step: distance(cards[step]["return_mean"]))
            save(best, path, cards[best])

        if "expert" in levels:
            choose("expert", list(mean), lambda value: -value)
        if "medium" in levels:
            best = read_card(weights_path(task, bins, "expert").with_suffix(".json"))["return_mean"]
            passed = [step for step in mean if mean[step] >= 0.6 * best] or [max(mean)]
            early = [step for step in mean if step <= min(passed)]
            choose("medium", early, lambda value: abs(value - medium_share * best))


def main(_: list[str]) -> None:
    setup_logging()
    ship(FLAGS.task, FLAGS.bins, pathlib.Path(FLAGS.workdir), FLAGS.medium_share, FLAGS.num_workers, FLAGS.levels)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", None, list(DM_CONTROL), "task that was trained", required=True)
    flags.DEFINE_integer("bins", 3, "choices per action dimension", lower_bound=2, upper_bound=MOST_BINS)
    flags.DEFINE_string("workdir", None, "--workdir of train_behaviour", required=True)
    flags.DEFINE_float("medium_share", 1 / 3, "medium's return as a share of the expert's", 0, 1)
    flags.DEFINE_multi_enum("levels", ["expert", "medium"], ["expert", "medium"], "what to ship; may repeat")
    flags.DEFINE_integer("num_workers", 0, "environment processes; 0 steps them in this process", lower_bound=0)
    command.run(main)
