"""Draw how humanoid-stand was learnt: `python docs/draw_humanoid.py` writes docs/humanoid_stand.png.

It reads benchmarks/results/humanoid_stand_curve.json: greedy returns of three episodes from the task's own starts, and
of one that began upright, at every evaluation of each stage of the training.
"""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure

from spin_jax.envs.tasks import DM_CONTROL

DOCS = pathlib.Path(__file__).parent
CURVE = DOCS.parent / "benchmarks/results/humanoid_stand_curve.json"


def main():
    stages = json.loads(CURVE.read_text())["stages"]
    figure = Figure((9, 5), layout="constrained")
    axes = figure.subplots()
    for i, stage in enumerate(stages):
        decisions = np.array(stage["decisions"]) / 1e6
        axes.plot(decisions, np.mean(stage["returns"], axis=1), color=f"C{i}", lw=1.5, label=stage["name"])
        axes.plot(decisions, stage["returns_upright"], color=f"C{i}", lw=0.8, ls=":")
    _, published = DM_CONTROL["humanoid_stand"].reference_returns(3)
    axes.axhline(published, color="black", lw=0.8, ls="--")
    axes.text(0.01, published + 8, "published expert", fontsize="small")
    axes.set(xlabel="decisions (millions)", ylabel="greedy return", ylim=(0, 1000))
    axes.set_title("from the task's own starts; dotted: one episode that begins upright", fontsize="medium")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(DOCS / "humanoid_stand.png", dpi=110)


if __name__ == "__main__":
    main()
