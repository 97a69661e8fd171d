"""What a person sees at the end: a table, curves, a video; and the same facts for programs, results.json."""

import pathlib

from matplotlib.figure import Figure

from spin_jax.config.build import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.evaluation.scores import reference_returns
from spin_jax.record.machine import facts
from spin_jax.record.metrics import read_rows
from spin_jax.record.workdir import Workdir, write_json
from spin_jax.report.video import write_video
from spin_jax.stages.evaluate_policy import load_policy
from spin_jax.stages.stage import Member, members
from spin_jax.types import ActionSpec

STAGES = ("data", "pretrain", "policy", "evaluate")


def collect_results(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """The facts of a finished run; stages that were run elsewhere are null.

    Of several seeds, return_mean, return_std and return_ci95 are over the seeds' means.
    """
    data, pretrain, policy, evaluated = (workdir.summary(name) or {} for name in STAGES)
    low, high = reference_returns(run.task, run.bins)
    return {
        "task": run.task,
        "bins": run.bins,
        "level": run.data.level,
        "policy": run.policy,
        "learner": run.learner,
        "seeds": list(range(run.seed, run.seed + run.num_seeds)),
        "by_seed": evaluated.get("seeds"),
        "return_iqm": evaluated.get("return_iqm"),
        "return_iqm_ci95": evaluated.get("return_iqm_ci95"),
        "return_mean": evaluated["return_mean"],
        "return_std": evaluated["return_std"],
        "return_ci95": evaluated["return_ci95"],
        "normalised_mean": evaluated["normalised_mean"],
        "episodes": len(evaluated["returns"]),
        "mode": evaluated["mode"],
        "reference_returns": {"random": low, "expert": high},
        "data_returns": data.get("data_returns"),
        "trained_on_return": float(dataset.returns.mean()),
        "transitions": dataset.num_transitions,
        "fingerprint": dataset.fingerprint,
        "asm": {"untrained": pretrain.get("untrained"), "trained": pretrain.get("trained")},
        "seconds": {
            name: summary.get("seconds")
            for name, summary in zip(STAGES, (data, pretrain, policy, evaluated), strict=True)
        },
        "updates_per_second": policy.get("updates_per_second"),
        "parameters": {"trained": policy.get("parameters"), "frozen": policy.get("frozen_parameters")},
        **facts(),
    }


def table(results: dict) -> str:
    """The returns side by side, and where the time went."""
    low, high = results["reference_returns"]["random"], results["reference_returns"]["expert"]

    def row(name, value, extra=""):
        return f"  {name:<34}{value:>9.1f}{(value - low) / (high - low):>12.3f}{extra}"

    mode = "sampled" if results["mode"] == "sample" else "greedy"
    lines = [
        f"{results['task']}, {results['bins']} bins, {results['level']}: {results['policy']} with {results['learner']}",
        f"  {'':<34}{'return':>9}{'normalised':>12}",
        *_policy_rows(results, row, f"{results['policy']} ({mode}, {results['episodes']} episodes)"),
        row("episodes it was trained on", results["trained_on_return"]),
    ]
    lines += [row(f"data: {level}", value) for level, value in (results["data_returns"] or {}).items()]
    lines += [row("published: random", low), row("published: expert", high)]
    trained, untrained = results["asm"]["trained"], results["asm"]["untrained"]
    if trained:
        lines.append(
            f"  ASM, held out: all {len(trained['slot_accuracy'])} slots right {trained['exact_match']:.2%} "
            f"(untrained {untrained['exact_match']:.2%}; product of the slot accuracies "
            f"{trained['accuracy_product']:.2%})"
        )
    spent = {name: value for name, value in results["seconds"].items() if value is not None}
    minutes = ", ".join(f"{name} {value / 60:.1f}" for name, value in spent.items())
    lines.append(f"  minutes: {minutes}, in all {sum(spent.values()) / 60:.1f}")
    return "\n".join(lines)


def _policy_rows(results: dict, row, name: str) -> list[str]:
    """The trained policy's row; of several seeds, each one's and theirs together."""
    interval = "  95 % of the {}: {:.1f} to {:.1f}"
    if results["by_seed"] is None:
        return [row(name, results["return_mean"], interval.format("mean", *results["return_ci95"]))]
    rows = [
        row(f"  seed {seed}", found["return_mean"], interval.format("mean", *found["return_ci95"]))
        for seed, found in results["by_seed"].items()
    ]
    over_seeds = interval.format("interquartile mean", *results["return_iqm_ci95"])
    return [f"  {name}", *rows, row("  interquartile mean of seeds", results["return_iqm"], over_seeds)]


def plot_curves(team: list[Member], workdir: Workdir, results: dict) -> pathlib.Path:
    """curves.png: stage 1's loss and held-out accuracy, stage 2's losses, and the return beside the data's.

    Of several seeds, every one has its line.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    places = dict.fromkeys((workdir.path, *(member.workdir.path for member in team)))
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
    held_out = {"held_out/exact_match": "all slots right", "held_out/accuracy_product": "product of slot accuracies"}
    draw(axes[0, 1], pretrain, held_out, "Stage 1: ASM, held out, all slots masked", "share of states")
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
    path = workdir.path / "curves.png"
    figure.savefig(path, dpi=110)
    return path


def report(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec) -> dict:
    """Write results.json, curves.png and, where asked for, video.webp; print the table and where everything is."""
    results = collect_results(run, workdir, dataset)
    write_json(workdir.path / "results.json", results)
    team = members(run, workdir)
    written = [workdir.path / "results.json", plot_curves(team, workdir, results)]
    if run.eval.video:
        learner, states, asms = load_policy(run, team[:1], dataset, spec)
        written.append(write_video(workdir.path / "video.webp", run, learner.act, states[0], asms[0]))
    written += [workdir.path / "asm"] if (workdir.path / "asm").exists() else []
    written += [m.workdir.path / f"policy/{name}" for m in team for name in ("state", "metrics.jsonl", "tensorboard")]
    print(table(results))
    print("written:\n" + "\n".join(f"  {path}" for path in written))
    return results
