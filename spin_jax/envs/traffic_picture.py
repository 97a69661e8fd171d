"""The network of task `traffic` seen from above: lanes by the vehicles that stand on them, signals by their phase."""

from typing import Any

import numpy as np

from spin_jax.envs.traffic_network import Network

ROAD, GREEN = "#c9d1d9", "#1a7f37"
MANY = 12  # vehicles that stand on a lane of the darkest colour
STOP_METRES = 40  # length of the green piece of a lane that may go


def draw_network(
    axes: Any, network: Network, standing: np.ndarray | None = None, phases: np.ndarray | None = None
) -> None:
    """Draws the network on matplotlib axes.

    standing [L]: vehicles that stand on each lane, yellow for few and dark red for MANY. phases [N]: the phase that
    each signal shows, written as phase/phases; the lanes that it lets go end in green. None: the number of its phases.
    """
    import matplotlib

    colours, start = matplotlib.colormaps["YlOrRd"], 0
    standing = np.zeros(len(network.lanes)) if standing is None else standing
    for shape, count in zip(network.shapes, standing, strict=True):
        colour = colours(0.25 + 0.75 * min(count / MANY, 1)) if count else ROAD
        axes.plot(*shape.T, color=colour, linewidth=2, solid_capstyle="butt", zorder=1)
    for i, signal in enumerate(network.signals):
        text = str(len(signal.phases))
        if phases is not None:
            text = f"{phases[i] + 1}/{text}"
            for lane in np.flatnonzero(network.waiting[start + phases[i]]):
                before, end = network.shapes[lane][-2:]
                back = (before - end) * min(STOP_METRES / np.linalg.norm(before - end), 1)
                axes.plot(*np.stack([end + back, end]).T, color=GREEN, linewidth=2, zorder=2)
        start += len(signal.phases)
        axes.text(
            *signal.position, text, size=8, color="white", weight="bold", ha="center", va="center", zorder=3,
            bbox={"boxstyle": "circle,pad=0.25", "facecolor": "#24292f", "edgecolor": "white"},
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.set_axis_off()


def picture(network: Network, standing: np.ndarray, phases: np.ndarray, height: int, width: int) -> np.ndarray:
    """draw_network as [height, width, 3] uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    draw_network(figure.add_axes((0, 0, 1, 1)), network, standing, phases)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
