"""Plays the rules of task traffic: `python -m benchmarks.traffic_rules --json=FILE` (needs SUMO).

For each rule, without random sub-actions: the return, and what SUMO itself counts (its tripinfo output): the mean
seconds that a vehicle stood or waited to enter, and how many vehicles there were and arrived. Vehicles that are still
on their way at the end count too.
"""

import pathlib
import tempfile
from xml.etree import ElementTree

import numpy as np
from absl import flags

from benchmarks.measure import write
from spin_jax import command
from spin_jax.collect.traffic_rules import traffic_behaviour
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.traffic import TrafficEnv
from spin_jax.envs.vector import episode_seed

SEED = 12345  # of the episodes


def play(env: TrafficEnv, level: str, index: int, trips: pathlib.Path) -> tuple[float, float, int, int]:
    """(return, SUMO's mean waiting time in seconds, vehicles, vehicles that arrived) of episode `index` of a rule."""
    act = traffic_behaviour("traffic", 3, level, 0.0, np.random.default_rng(index))
    unfinished = ["--tripinfo-output.write-unfinished", "--tripinfo-output.write-undeparted"]
    env.sumo_options = ("--tripinfo-output", str(trips), *unfinished)
    observation, total, last = env.reset(episode_seed(SEED, index)), 0.0, False
    while not last:
        observation, reward, _, last = env.step(act(observation[None])[0])
        total += reward
    env.sumo_options = ()
    env.reset(0)  # SUMO writes the vehicles that are still on their way when the episode is closed
    found = list(ElementTree.parse(trips).getroot().iter("tripinfo"))
    waited = [float(v.get("waitingTime", 0)) + max(float(v.get("departDelay", 0)), 0) for v in found]
    arrived = sum(float(v.get("arrival", -1)) >= 0 for v in found)
    return total, float(np.mean(waited)), len(found), arrived


def main(_: list[str]) -> None:
    results, env = [], TrafficEnv("traffic", 3)
    print("rule           return          SUMO's waiting time, s  vehicles  arrived")
    with tempfile.TemporaryDirectory() as folder:
        for level in TASKS["traffic"].levels:
            rows = [play(env, level, i, pathlib.Path(folder) / "trips.xml") for i in range(FLAGS.episodes)]
            returns, waited, vehicles, arrived = map(np.array, zip(*rows, strict=True))
            results.append({
                "rule": level, "episodes": FLAGS.episodes, "return_mean": float(returns.mean()),
                "return_std": float(returns.std()),
                "waiting_seconds": float(waited.mean()),
                "vehicles": float(vehicles.mean()), "arrived": float(arrived.mean()),
            })  # fmt: skip
            spread = f"{returns.mean():.1f} ± {returns.std():.1f}"
            print(f"{level:<15}{spread:<16}{waited.mean():>22.1f}{vehicles.mean():>10.0f}{arrived.mean():>9.0f}")
    write(FLAGS.json, results=results)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_integer("episodes", 20, "episodes of each rule", lower_bound=1)
    flags.DEFINE_string("json", None, "write the results there")
    command.run(main)
