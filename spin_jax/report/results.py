"""Reports a finished run: a table, curves and a video for people, and results.json for programs."""

import itertools

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.envs.tasks import TASKS
from spin_jax.record.files import write_json
from spin_jax.record.machine import facts
from spin_jax.record.metrics import check_rows
from spin_jax.record.workdir import Workdir
from spin_jax.report.curves import plot_curves
from spin_jax.report.judgement import judgement, plot_judgement, unfinished
from spin_jax.report.video import write_video
from spin_jax.stages import STAGES
from spin_jax.stages.evaluate_policy import load_policy
from spin_jax.stages.members import members


def collect_results(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """The facts of a finished run; those of stages that ran elsewhere are null.

    With several seeds, return_mean, return_std and return_ci95 are over the seeds' means.
    """
    summaries = {name: workdir.summary(name) or {} for name in (*STAGES, "ope")}
    data, pretrain, policy, evaluated = (summaries[name] for name in ("data", "pretrain", "policy", "evaluate"))
    references = TASKS[run.task].reference_returns(run.bins) if run.simulated else None
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
        "return_mean": evaluated.get("return_mean"),
        "return_std": evaluated.get("return_std"),
        "return_ci95": evaluated.get("return_ci95"),
        "normalised_mean": evaluated.get("normalised_mean"),
        "episodes": len(evaluated["returns"]) if evaluated else None,
        "step": evaluated.get("step"),
        "num_steps": evaluated.get("num_steps"),
        "mode": evaluated.get("mode", run.eval.mode),
        "off_policy": summaries["ope"] or None,
        "reference_returns": references and {"random": references[0], "expert": references[1]},
        "data_returns": data.get("data_returns"),
        "trained_on_return": float(dataset.returns.mean()),
        "transitions": dataset.num_transitions,
        "fingerprint": dataset.fingerprint,
        "asm": {name: pretrain.get(name) for name in ("probe_name", "untrained", "trained")},
        "seconds": {name: each.get("seconds") for name, each in summaries.items() if each or name in STAGES},
        "updates_per_second": policy.get("updates_per_second"),
        "parameters": {"trained": policy.get("parameters"), "frozen": policy.get("frozen_parameters")},
        **facts(),
    }


def table(results: dict) -> str:
    """A table of the policy's, the data's and the published returns, the ASM's accuracy, and the minutes per stage."""
    references = results["reference_returns"] or {}

    def row(name, value, extra=""):
        low, high = references.get("random", 0), references.get("expert", 0)
        normalised = f"{(value - low) / (high - low):>12.3f}" if references else ""
        return f"  {name:<34}{value:>9.1f}{normalised}{extra}"

    mode, played = "sampled" if results["mode"] == "sample" else "greedy", results["return_mean"] is not None
    lines = [
        f"{results['task']}, {_choices(results)}{results['level']}: {results['policy']} with {results['learner']}",
        f"  {'':<34}{'return':>9}{'normalised' if references else '':>12}",
        *(
            _policy_rows(results, row, f"{results['policy']} ({mode}, {results['episodes']} episodes)")
            if played
            else []
        ),
        *unfinished(results, results["policy"]),
        row("the log it was trained on", results["trained_on_return"]),
    ]
    lines += [row(f"data: {level}", value) for level, value in (results["data_returns"] or {}).items()]
    lines += [row(f"published: {level}", value) for level, value in references.items()]
    trained, untrained = results["asm"]["trained"], results["asm"]["untrained"]
    if trained:
        where, slots = results["asm"]["probe_name"].replace("_", " "), len(trained["slot_accuracy"])
        lines.append(
            f"  ASM, {where}: all {slots} slots right {trained['exact_match']:.2%} "
            f"(untrained {untrained['exact_match']:.2%}; product of the slot accuracies "
            f"{trained['accuracy_product']:.2%})"
        )
    if results["off_policy"]:
        lines.append(judgement(results["off_policy"]))
    spent = {name: value for name, value in results["seconds"].items() if value is not None}
    minutes = ", ".join(f"{name} {value / 60:.1f}" for name, value in spent.items())
    lines.append(f"  minutes: {minutes}, in all {sum(spent.values()) / 60:.1f}")
    return "\n".join(lines)


def _choices(results: dict) -> str:
    """The number of choices where every slot has the same by configuration, followed by a comma."""
    task = TASKS.get(results["task"])
    return f"{results['bins']} bins, " if task is not None and isinstance(task.slots, int) else ""


def _policy_rows(results: dict, row, name: str) -> list[str]:
    """The trained policy's row; with several seeds, a row for each and one for all together."""
    interval = "  95 % of the {}: {:.1f} to {:.1f}"
    if results["by_seed"] is None:
        return [row(name, results["return_mean"], interval.format("mean", *results["return_ci95"]))]
    rows = [
        row(f"  seed {seed}", found["return_mean"], interval.format("mean", *found["return_ci95"]))
        for seed, found in results["by_seed"].items()
    ]
    over_seeds = interval.format("interquartile mean", *results["return_iqm_ci95"])
    return [f"  {name}", *rows, row("  interquartile mean of seeds", results["return_iqm"], over_seeds)]


def report(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """Writes results.json, curves.png and, with config.eval.video, video.webp; prints the table and all paths."""
    results = collect_results(run, workdir, dataset)
    write_json(workdir.path / "results.json", results)
    team = members(run, workdir)
    for place, stage in itertools.product(dict.fromkeys([workdir, *(m.workdir for m in team)]), ("pretrain", "policy")):
        check_rows(place.path / stage / "metrics.jsonl", (place.summary(stage) or {}).get("metrics_sha256"))
    written = [
        workdir.path / "results.json",
        plot_curves([member.workdir.path for member in team], workdir.path, results),
    ]
    if results["off_policy"]:
        written.append(plot_judgement(results["off_policy"], workdir.path / "off_policy.png"))
    if run.eval.video and run.simulated:
        learner, states, asms = load_policy(run, team[:1], dataset)
        written.append(write_video(workdir.path / "video.webp", run, learner.act, states[0], asms[0]))
    written += [workdir.path / "asm"] if (workdir.path / "asm").exists() else []
    written += [m.workdir.path / f"policy/{name}" for m in team for name in ("state", "metrics.jsonl", "tensorboard")]
    print(table(results))
    print("written:\n" + "\n".join(f"  {path}" for path in written))
    return results
