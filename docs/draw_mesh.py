"""Draw the picture of the mesh: `python docs/draw_mesh.py` writes docs/mesh.png."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

INK, MUTED = "#24292f", "#59636e"
SEEDS = ("#ffe3c2", "#c25e00"), ("#d8ebfb", "#1f6fb2")
HOST = {"facecolor": "#f6f8fa", "edgecolor": "#8c959f"}
WIDTH, HEIGHT, GAP = 13.0, 11.0, 2.4


def device(axes, x, y, seed, part):
    """One device: the seeds that it trains, and its part of their batch."""
    face, edge = SEEDS[seed]
    axes.add_patch(Rectangle((x, y), WIDTH, HEIGHT, facecolor=face, edgecolor=edge, linewidth=1.3))
    axes.text(
        x + WIDTH / 2, y + HEIGHT * 0.74, f"device {4 * seed + part}", ha="center", va="center", size=9, color=INK
    )
    axes.text(x + WIDTH / 2, y + HEIGHT * 0.46, f"seed {seed}", ha="center", va="center", size=9, color=INK)
    axes.text(x + WIDTH / 2, y + HEIGHT * 0.2, f"rows {part} of 4", ha="center", va="center", size=8, color=MUTED)


def draw(axes):
    """Two seeds on 2 × 4 devices of two processes."""
    for seed in range(2):
        y = 33 - seed * (HEIGHT + 11)
        shape = "round,pad=0,rounding_size=1"
        axes.add_patch(FancyBboxPatch((13, y - 6), 4 * (WIDTH + GAP) + 2.8, HEIGHT + 8, boxstyle=shape, **HOST))
        axes.text(11.5, y + HEIGHT / 2, f"process {seed}", ha="right", va="center", size=9.5, color=MUTED)
        for part in range(4):
            device(axes, 15.6 + part * (WIDTH + GAP), y, seed, part)
        style = {"arrowstyle": "<|-|>", "mutation_scale": 9, "color": SEEDS[seed][1], "linewidth": 1.2}
        axes.add_patch(FancyArrowPatch((16, y - 1.6), (75, y - 1.6), shrinkA=0, shrinkB=0, **style))
        axes.text(45.5, y - 4, "sums of gradients", ha="center", va="center", size=8, color=MUTED)
    axes.text(45.5, 49, 'axis "data": one batch, split by rows', ha="center", va="center", size=10.5, color=INK)
    axes.text(88, 27, 'axis "seed":\nnothing\ncrosses', ha="center", va="center", size=10.5, color=INK)
    axes.set(xlim=(0, 98), ylim=(3, 52))
    axes.axis("off")


if __name__ == "__main__":
    figure = Figure(figsize=(9.8, 4.9))
    draw(figure.add_axes((0, 0, 1, 1)))
    figure.savefig(pathlib.Path(__file__).parent / "mesh.png", dpi=130)
