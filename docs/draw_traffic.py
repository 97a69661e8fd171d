"""Draw the network of task traffic: `python docs/draw_traffic.py` writes docs/traffic_network.png (needs SUMO)."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from spin_jax.collect.traffic_rules import traffic_behaviour
from spin_jax.envs.traffic import STEP_SECONDS, TrafficEnv
from spin_jax.envs.traffic_picture import draw_network

MINUTES, SEED = 25, 0


def main():
    env = TrafficEnv("traffic", 3)
    figure = Figure((13, 4.8), layout="constrained")
    first, *others = figure.subplots(1, 3)
    draw_network(first, env.network)
    first.set_title("9 signals and the number of their phases")
    for axes, level in zip(others, ("random", "longest_queue"), strict=True):
        act = traffic_behaviour("traffic", 3, level, 0.0, np.random.default_rng(SEED))
        observation = env.reset(SEED)
        for _ in range(MINUTES * 60 // STEP_SECONDS):
            observation = env.step(act(observation[None])[0])[0]
        draw_network(axes, env.network, env.standing, env.phases)
        axes.set_title(f"{level} after {MINUTES} minutes: {env.standing.sum()} vehicles stand")
    figure.savefig(pathlib.Path(__file__).parent / "traffic_network.png", dpi=110)


if __name__ == "__main__":
    main()
