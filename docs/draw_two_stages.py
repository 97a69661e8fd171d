"""Draw the picture of the two stages: `python docs/draw_two_stages.py` writes docs/two_stages.png."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle

INK, MUTED = "#24292f", "#59636e"
DATA = {"facecolor": "#f0f2f4", "edgecolor": "#8c959f"}
TRAINED = {"facecolor": "#ffe3c2", "edgecolor": "#c25e00"}
FROZEN = {"facecolor": "#d8ebfb", "edgecolor": "#1f6fb2"}
HIDDEN = {"facecolor": "#24292f", "edgecolor": "#24292f"}
SLOTS = (12.6, 9.0, 5.4, 1.8)  # heights of the four tokens that stand for N slots, above a lane's lower token
TOKEN = 2.4


def box(axes, x, y, width, height, text, style, size=10.5, **font):
    """A rounded box with its text in the middle."""
    shape = "round,pad=0,rounding_size=0.9"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, linewidth=1.3, **style))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size, color=INK, **font)


def token(axes, x, y, style, text=""):
    """A small square: one token of the Transformer."""
    axes.add_patch(Rectangle((x, y), TOKEN, TOKEN, linewidth=1.1, **style))
    color = "white" if style is HIDDEN else INK
    axes.text(x + TOKEN / 2, y + TOKEN / 2, text, ha="center", va="center_baseline", size=8.5, color=color)


def arrow(axes, start, end, color=MUTED, bend=0.0, width=1.3):
    """An arrow from start to end; bend 0 is straight."""
    path = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "mutation_scale": 11}
    axes.add_patch(FancyArrowPatch(start, end, color=color, linewidth=width, shrinkA=0, shrinkB=0, **path))


def note(axes, x, y, text, size=9.0, color=MUTED, **font):
    """Small text, centred at (x, y)."""
    axes.text(x, y, text, ha="center", va="center", size=size, color=color, **font)


def log(axes):
    """The log as a drum at the left, read by both stages."""
    left, low, width, height = 2.0, 26.0, 12.0, 15.0
    axes.add_patch(Rectangle((left, low), width, height, linewidth=0, facecolor=DATA["facecolor"]))
    axes.add_patch(Ellipse((left + width / 2, low), width, 4, linewidth=1.3, **DATA))
    axes.add_patch(Rectangle((left, low), width, 3, linewidth=0, facecolor=DATA["facecolor"]))
    for side in (left, left + width):
        axes.plot([side, side], [low, low + height], color=DATA["edgecolor"], linewidth=1.3)
    axes.add_patch(Ellipse((left + width / 2, low + height), width, 4, linewidth=1.3, **DATA))
    axes.text(left + width / 2, low + 9, "log", ha="center", va="center", size=12.5, weight="bold", color=INK)
    note(axes, left + width / 2, low + 4.5, "$s,\\ a,\\ r,\\ s'$", size=11, color=INK)


def lane(axes, low, title, summary, style):
    """The background of a stage, 24 high."""
    shape = "round,pad=0,rounding_size=1.2"
    pale = {"facecolor": "#fcfcfd", "edgecolor": "#d0d7de", "linewidth": 1.0}
    axes.add_patch(FancyBboxPatch((18, low), 100, 28.5, boxstyle=shape, **pale))
    axes.text(20, low + 25.9, title, ha="left", va="center", size=12, weight="bold", color=style["edgecolor"])
    axes.text(116, low + 25.9, summary, ha="right", va="center", size=9.5, color=MUTED)


def transformer(axes, low, style, inputs, outputs, text):
    """Tokens [s; slots] -> body -> z, from `low` up; inputs and outputs are (style, label) of the four slots."""
    token(axes, 39, low + 16.2, style, "$s$")
    for height, (kind, label) in zip(SLOTS, inputs, strict=True):
        token(axes, 39, low + height, kind, label)
        arrow(axes, (39 + TOKEN, low + height + TOKEN / 2), (45, low + height + TOKEN / 2), width=0.9)
    arrow(axes, (39 + TOKEN, low + 16.2 + TOKEN / 2), (45, low + 16.2 + TOKEN / 2), width=0.9)
    box(axes, 45, low + 1, 16, 18.4, text, style)
    for height, (kind, label) in zip(SLOTS, outputs, strict=True):
        arrow(axes, (61, low + height + TOKEN / 2), (66, low + height + TOKEN / 2), width=0.9)
        token(axes, 66, low + height, kind, label)


def stage_1(axes, low):
    """Masked modelling: hide some sub-actions of a logged action, predict them from the state and the others."""
    lane(axes, low, "Stage 1: masked modelling", "Algorithm 1 · which combinations make sense in a state?", TRAINED)
    box(axes, 21, low + 15.4, 12, 4.2, "state encoder", TRAINED, size=9.5)
    arrow(axes, (33, low + 17.5), (39, low + 17.5))
    box(axes, 21, low + 3.5, 12, 9.5, "one table\na slot;\nsome slots\nhidden", TRAINED, size=9.5)
    arrow(axes, (33, low + 8.2), (38.4, low + 8.2))
    inputs = [(TRAINED, "$a_1$"), (HIDDEN, "?"), (TRAINED, "$a_3$"), (HIDDEN, "?")]
    outputs = [(DATA, "$z_1$"), (DATA, "$z_2$"), (DATA, "$z_3$"), (DATA, "$z_4$")]
    transformer(axes, low, TRAINED, inputs, outputs, "Transformer\nbody")
    box(axes, 73, low + 1.8, 12, 13.2, "slot\nheads", TRAINED)
    for height in SLOTS:
        arrow(axes, (66 + TOKEN, low + height + 1.2), (73, low + height + 1.2), width=0.9)
    for height, name in ((SLOTS[1], "2"), (SLOTS[3], "4")):
        arrow(axes, (85, low + height + 1.2), (90, low + height + 1.2))
        axes.text(91, low + height + 1.2, f"$p(a_{name} \\mid s,\\ a_1, a_3)$", va="center", size=11, color=INK)
    axes.text(91, low + SLOTS[2] + 1.2, "cross-entropy on the hidden slots", va="center", size=9, color=MUTED)


def stage_2(axes, low):
    """The policy: queries read the frozen body, new heads choose, critics weigh the log's actions."""
    lane(axes, low, "Stage 2: policy", "Algorithm 2 · which of them earn reward?", TRAINED)
    box(axes, 21, low + 15.4, 12, 4.2, "state encoder", FROZEN, size=9.5)
    arrow(axes, (33, low + 17.5), (39, low + 17.5))
    box(axes, 21, low + 3.5, 12, 9.5, "learnable\nqueries,\none a slot", TRAINED, size=9.5)
    arrow(axes, (33, low + 8.2), (38.4, low + 8.2))
    inputs = [(TRAINED, f"$q_{i}$") for i in range(1, 5)]
    outputs = [(DATA, f"$z_{i}$") for i in range(1, 5)]
    transformer(axes, low, FROZEN, inputs, outputs, "Transformer\nbody,\nfrozen")
    box(axes, 73, low + 1.8, 12, 13.2, "new\nheads", TRAINED)
    for height in SLOTS:
        arrow(axes, (66 + TOKEN, low + height + 1.2), (73, low + height + 1.2), width=0.9)
    arrow(axes, (85, low + 8.4), (90, low + 8.4))
    box(axes, 90, low + 3.5, 25, 9.8, "policy\n$\\pi(a \\mid s) = \\prod_i\\, \\pi(a_i \\mid s, z_i)$", DATA, size=11)
    box(axes, 73, low + 17.3, 42, 5.4, "critics and value:  $Q(s,a) = \\sum_i\\, u_i(s, a_i)$,  $V(s)$", TRAINED)
    arrow(axes, (102.5, low + 17.3), (102.5, low + 13.3))
    axes.text(103.5, low + 15.3, "advantage weights", va="center", size=9, color=MUTED)


def legend(axes, low):
    """What the colours mean."""
    entries = (
        (26, TRAINED, "trained in this stage"),
        (51, FROZEN, "frozen"),
        (66, HIDDEN, "[MASK]: a hidden sub-action"),
        (95, DATA, "data and results"),
    )
    for x, style, text in entries:
        axes.add_patch(Rectangle((x, low), 2.2, 1.8, linewidth=1.1, **style))
        axes.text(x + 3.2, low + 0.9, text, va="center", size=9.5, color=INK)


def draw() -> Figure:
    """The whole picture."""
    figure = Figure(figsize=(12, 6.9), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 120), ylim=(0, 69))
    axes.axis("off")
    log(axes)
    stage_1(axes, 39)
    stage_2(axes, 4)
    arrow(axes, (8, 43.2), (18, 53), bend=-0.3, width=1.8)
    arrow(axes, (8, 23.8), (18, 18), bend=0.3, width=1.8)
    arrow(axes, (53, 40), (53, 23.6), color=FROZEN["edgecolor"], width=2.6)
    axes.text(55, 35.7, "freeze encoder and body", va="center", size=10.5, weight="bold", color=FROZEN["edgecolor"])
    legend(axes, 1)
    return figure


if __name__ == "__main__":
    draw().savefig(pathlib.Path(__file__).with_name("two_stages.png"), dpi=140)
