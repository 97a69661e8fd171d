"""Plays the shipped behaviour policies again: `python -m spin_jax.collect.policy_table`.

Prints the table of docs/behaviour.md. Every policy plays the episodes of its card (the same seeds, float16 weights,
numpy), so the returns repeat exactly on the same machine and versions. --noplay prints the cards' figures instead.
"""

import pathlib

import numpy as np
from absl import flags

from spin_jax import command
from spin_jax.collect.behaviour_policy import WEIGHTS, load_policy, read_card
from spin_jax.collect.rollout import play_policy
from spin_jax.collect.ship import EPISODES, EVALUATION_SEED
from spin_jax.config.auto import worker_processes
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.envs.vector import VectorEnv, episode_seed
from spin_jax.record.progress import Progress, setup_logging


def shipped() -> list[tuple[pathlib.Path, dict]]:
    """(weights, card) of every shipped policy, sorted by task (in the suite's order), bins and level (medium first)."""
    cards = [(path.with_suffix(".npz"), read_card(path)) for path in WEIGHTS.glob("*.json")]
    order = list(DM_CONTROL)
    return sorted(cards, key=lambda pc: (order.index(pc[1]["task"]), pc[1]["bins"], pc[1]["level"] != "medium"))


def play(path: pathlib.Path, card: dict, workers: int) -> tuple[float, float]:
    """Plays the card's episodes again; returns the mean and the standard deviation of their returns."""
    with VectorEnv(card["task"], card["bins"], EPISODES, workers) as envs:
        act = load_policy(path, envs.spec.num_slots)
        episodes = play_policy(envs, act, [episode_seed(EVALUATION_SEED, i) for i in range(EPISODES)])
    returns = [float(e.reward.sum()) for e in episodes]
    return float(np.mean(returns)), float(np.std(returns))


def row(card: dict, mean: float, std: float) -> str:
    """One line of the table; an expert's line also has the published expert's return."""
    references = DM_CONTROL[card["task"]].reference_returns(card["bins"])
    assert references is not None  # the suite has them for every task
    published = references[1]
    share = f"{published:.2f} ({mean / published:.0%})" if card["level"] == "expert" else ""
    name = card["task"].replace("_", "-")
    return f"| {name} | {card['bins']} | {card['level']} | {card['frames']:,} | {mean:.1f} ± {std:.1f} | {share} |"


def main(_: list[str]) -> None:
    setup_logging()
    lines = ["| task | bins | level | frames | return, 20 episodes | published expert (ours against it) |"]
    lines += ["|---|---|---|---|---|---|"]
    policies = [(p, c) for p, c in shipped() if FLAGS.task in (None, c["task"])]
    with Progress("policy table", len(policies), unit="row") as progress:
        for i, (path, card) in enumerate(policies, 1):
            measured = card["return_mean"], card["return_std"]
            lines.append(
                row(card, *(play(path, card, worker_processes(FLAGS.num_workers)) if FLAGS.play else measured))
            )
            progress.update(i)
    print("\n".join(lines))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", None, list(DM_CONTROL), "only this task")
    flags.DEFINE_boolean("play", True, "play the episodes; otherwise print what the cards say")
    flags.DEFINE_integer("num_workers", -1, "environment processes; -1 = one a core, 0 = none", lower_bound=-1)
    command.run(main)
