"""Draws the curves of a run as a picture."""

import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure

from spin_jax.record.files import replacing
from spin_jax.record.metrics import read_rows


def plot_curves(members: Sequence[pathlib.Path], workdir: pathlib.Path, results: dict) -> pathlib.Path:
    """Draws curves.png: stage 1's loss and accuracy, stage 2's losses, the return and that of the data.

    members: the workdirs of the seeds; every seed has its own line.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    places = dict.fromkeys((workdir, *members))
    pretrain, policy = (
        [read_rows(place / stage / "metrics.jsonl") for place in places] for stage in ("pretrain", "policy")
    )

    def draw(axis, runs, names, title, ylabel):
        for i, (name, label) in enumerate(names.items()):
            curves = [[(row["step"], row[name]) for row in rows if name in row] for rows in runs]
            for points in filter(None, curves):
                marker = "o" if len(points) < 30 else None
                axis.plot(*zip(*points, strict=True), label=label, color=f"C{i}", marker=marker, markersize=3)
                label = None
        axis.set(title=title, xlabel="gradient step", ylabel=ylabel)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()

    draw(axes[0, 0], pretrain, {"masked_cross_entropy": "masked cross-entropy"}, "Stage 1: ASM, training loss", "nats")
    probe = results["asm"]["probe_name"] or "held_out"
    accuracy = {f"{probe}/exact_match": "all slots right", f"{probe}/accuracy_product": "product of slot accuracies"}
    title = f"Stage 1: ASM, {probe.replace('_', ' ')}, all slots masked"
    draw(axes[0, 1], pretrain, accuracy, title, "share of states")
    losses = {"value_loss": "value", "critic_loss": "critics", "policy_loss": "policy"}
    draw(axes[1, 0], policy, losses, "Stage 2: losses", "loss")
    axes[1, 0].set_yscale("symlog", linthresh=0.1)
    draw(axes[1, 1], policy, {"return_mean": results["policy"]}, "Stage 2: return in the environment", "return")
    axis = axes[1, 1]
    lines = {**(results["data_returns"] or {}), "trained on": results["trained_on_return"]}
    for i, (level, value) in enumerate(lines.items()):
        axis.axhline(value, linestyle="--", color=f"C{i + 1}", label=f"data: {level}", linewidth=1)
    axis.legend(fontsize="small")
    figure.suptitle(f"{results['task']}, {results['level']}: {results['policy']} with {results['learner']}")
    path = workdir / "curves.png"
    with replacing(path) as file:
        figure.savefig(file, dpi=110)
    return path
