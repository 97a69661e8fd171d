"""Return against wall-clock: `python -m benchmarks.wallclock_vs_saint --task=cheetah_run --root=DIR --json=FILE`.

Trains every system on the same log with the same seeds by main.py, each stage in its own process. Pre-training,
distillation, caching and compilation are counted; evaluation, the same for all, is not. Targets are 50, 75 and 95 % of
SAINT's best mean return over seeds. Systems with the same masking of the ASM load one ASM per seed, and its training
counts for each of them. spin_warm, which is the ASM's own policy before its first step, is evaluated during stage 1
too. Rerunning the command resumes; finished runs are not repeated. Prints a table, writes JSON and a figure.

--systems: policies, each with fields of the configuration of its own behind colons, such as
saint:train.num_steps=200000,spin_decode:asm.num_epochs=4,factored:learner=bc.
"""

import json
import pathlib
import re
import shutil
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from benchmarks.measure import run_main, write
from benchmarks.study_report import cell
from spin_jax import command
from spin_jax.config.build import did_you_mean
from spin_jax.envs.tasks import DM_CONTROL
from spin_jax.errors import ConfigError, WorkdirError
from spin_jax.frozen.artefact import open_store
from spin_jax.record.files import read_json, write_json
from spin_jax.record.metrics import read_rows
from spin_jax.registry import POLICIES

SYSTEMS = ("saint", "spin", "spin_warm", "spin_distill", "spin_cached", "spin_decode", "factored")
SHARES = (0.5, 0.75, 0.95)  # of SAINT's best; "sooner" is about the last
NOT_LEARNED = r"eval\.|train\.checkpoint_every"  # fields that say when a run is looked at
# for the evaluation of a policy as it starts
SHORTEST = {"train.num_steps": 1, "eval.every_steps": 1, "iql.extract_after": 0}


class System(NamedTuple):
    """An entry of --systems: a policy, and the flags of its own fields."""

    name: str
    policy: str
    flags: list[str]

    @property
    def title(self) -> str:
        """As tables and figures name it: the policy, and those of its fields that change what is learned."""
        fields = [flag.removeprefix("--config.").partition("=")[::2] for flag in self.flags]
        learned = {name.split(".")[-1]: value for name, value in fields if not re.match(NOT_LEARNED, name)}
        return ", ".join([self.policy, *(v if v.isalpha() else f"{k} {v}" for k, v in learned.items())])

    @property
    def asm(self) -> str:
        """What tells its ASM from those of other systems: the masking and its own fields of section asm."""
        own = [flag.removeprefix("--config.asm.") for flag in self.flags if flag.startswith("--config.asm.")]
        return ":".join(["spin_warm" if POLICIES[self.policy].all_masked else "spin", *own])


def system(name: str) -> System:
    """The system of an entry of --systems; raises ConfigError if there is no such policy."""
    policy, *fields = name.split(":")
    if policy not in POLICIES:
        raise ConfigError(f"--systems: there is no policy {policy!r}.{did_you_mean(policy, POLICIES)}")
    return System(name, policy, flags_of(field.partition("=")[::2] for field in fields))


def flags_of(fields: Iterable[tuple[str, Any]]) -> list[str]:
    return [f"--config.{name}={value}" for name, value in fields]


def call(workdir: pathlib.Path, policy: str, seed: int, stage: str, extra: list[str]) -> None:
    """Runs one stage of main.py in its own process, which finds nothing compiled."""
    command = [f"--config=configs/{FLAGS.task}.py:{FLAGS.preset}", f"--workdir={workdir}"]
    command += [f"--config.data.level={FLAGS.level}", f"--config.policy={policy}", f"--config.seed={seed}"]
    run_main([*command, *extra, f"--stage={stage}"])


def summary(workdir: pathlib.Path, stage: str) -> dict | None:
    path = workdir / stage / "summary.json"
    return json.loads(path.read_text()) if path.exists() else None


def run(root: pathlib.Path, what: System, seed: int, extra: list[str]) -> list[tuple[float, float]]:
    """Trains a run unless it is finished; returns (seconds of training so far, mean return) of each evaluation."""
    policy, entry, extra = what.policy, POLICIES[what.policy], [*extra, *what.flags]
    workdir, before, points = root / f"{what.name}-seed{seed}", 0.0, list[tuple[float, float]]()
    if entry.reads_asm:
        asm = root / f"asm-{what.asm}-seed{seed}"
        if summary(asm, "pretrain") is None:
            call(asm, what.asm.partition(":")[0], seed, "pretrain", extra)
        pretrained = summary(asm, "pretrain")
        assert pretrained is not None  # call raises where main.py fails
        before += pretrained["seconds"]
        extra = [*extra, f"--config.asm.path={asm / 'asm'}"]
        if policy == "spin_warm":
            points += of_the_asm(asm, seed, what, extra)
    if summary(workdir, "policy") is None:
        if entry.reads_asm:
            shutil.rmtree(asm / "encodings", ignore_errors=True)  # so that each system computes its own
        if entry.distiller is not None:
            call(workdir, policy, seed, "distill", extra)
        call(workdir, policy, seed, "policy", extra)
    distilled = summary(workdir, "distill")
    before += distilled["seconds"] if distilled else 0.0
    return points + [(before + seconds, found) for seconds, found in evaluations(workdir)]


def evaluations(workdir: pathlib.Path) -> list[tuple[float, float]]:
    """(seconds of stage 2, mean return) of each evaluation of a run."""
    rows = read_rows(workdir / "policy" / "metrics.jsonl")
    return [(row["train_seconds"], row["return_mean"]) for row in rows if "return_mean" in row]


def of_the_asm(asm: pathlib.Path, seed: int, what: System, extra: list[str]) -> list[tuple[float, float]]:
    """(seconds of stage 1, mean return of the ASM's own policy) at every kept epoch but the last, and the untrained."""
    rows, points = read_rows(asm / "pretrain" / "metrics.jsonl"), []
    seconds = {row["step"]: row["seconds"] for row in rows}
    store = open_store(asm / "asm")
    for epoch in store.steps()[1:-1]:
        workdir = asm / f"{what.name}-epoch_{epoch}"
        if summary(workdir, "policy") is None:
            fields = SHORTEST | {"asm.epoch": epoch}
            call(workdir, "spin_warm", seed, "policy", [*extra, *flags_of(fields.items())])
        points.append((seconds[store.record(epoch)["step"]], evaluations(workdir)[0][1]))
    return points


def check_root(root: pathlib.Path, what: dict) -> None:
    """Writes down in `root` what its runs are; raises WorkdirError if it holds runs of something else."""
    path = root / "what.json"
    if not path.exists():
        write_json(path, what)
    elif (then := read_json(path, WorkdirError, "Delete it, if the runs beside it are of this command.", {})) != what:
        raise WorkdirError(f"{root} holds runs of {then}, not of {what}: use another --root.")


def compare(curves: dict[str, list[list[tuple[float, float]]]]) -> tuple[float, list[dict]]:
    """(SAINT's best mean return, a row for each system) of curves[system][seed]; times are means over seeds.

    seconds_to: to each share of SAINT's best, None if it is not reached. sooner: SAINT's seconds to the last of them,
    divided by the system's; 0 if it is not reached.
    """
    means = {name: np.mean(np.asarray(runs), axis=0) for name, runs in curves.items()}
    reference = next(name for name in means if system(name).policy == "saint")
    best = float(means[reference][:, 1].max())
    rows: list[dict[str, Any]] = []
    for name, mean in means.items():
        reached = [mean[mean[:, 1] >= share * best, 0] for share in SHARES]
        rows.append({
            "policy": name,
            "best": float(mean[:, 1].max()),
            "last": float(mean[-1, 1]),
            "last_by_seed": [runs[-1][1] for runs in curves[name]],
            "seconds_to": [float(seconds[0]) if len(seconds) else None for seconds in reached],
            "seconds": float(mean[-1, 0]),
        })  # fmt: skip
    saint = next(row for row in rows if row["policy"] == reference)["seconds_to"][-1]
    return best, [row | {"sooner": saint / (row["seconds_to"][-1] or np.inf)} for row in rows]


def table(best: float, rows: list[dict]) -> str:
    """A Markdown table; the return at the end is the interquartile mean over seeds with its bootstrap interval."""
    targets = ", ".join(f"{share * best:.0f}" for share in SHARES)
    heads = ["system", "best mean return", "at the end", "minutes in all", f"minutes to {targets}", "times sooner"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for r in rows:
        reached = ", ".join("not reached" if s is None else f"{s / 60:.2f}" for s in r["seconds_to"])
        sooner = f"{r['sooner']:.2f}" if r["sooner"] else ""
        cells = [f"{r['best']:.1f}", str(cell([r["last_by_seed"]])), f"{r['seconds'] / 60:.2f}", reached, sooner]
        lines.append(f"| {system(r['policy']).title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(path: str, best: float, curves: dict, title: str) -> None:
    """Draws the mean return over seeds against minutes (logarithmic); the band spans the lowest to the highest seed."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axis = figure.subplots()
    for i, (name, runs) in enumerate(curves.items()):
        values = np.asarray(runs)
        minutes, returns = values[..., 0].mean(0) / 60, values[..., 1]
        axis.plot(minutes, returns.mean(0), color=f"C{i}", marker="o", markersize=3, label=system(name).title)
        axis.fill_between(minutes, returns.min(0), returns.max(0), color=f"C{i}", alpha=0.12, linewidth=0)
    for share, style in zip(SHARES, (":", "-.", "--"), strict=True):
        axis.axhline(share * best, linestyle=style, color="grey", linewidth=1, label=f"{share:.0%} of SAINT's best")
    axis.set(xscale="log", xlabel="minutes of training, pre-training and compilation counted", ylabel="return")
    axis.set_title(title, fontsize="medium")
    axis.grid(alpha=0.3, which="both")
    figure.legend(loc="outside lower center", ncols=2, fontsize="x-small")
    figure.savefig(path, dpi=110)


def main(arguments: list[str]) -> None:
    root = pathlib.Path(FLAGS.root).expanduser().absolute()
    root.mkdir(parents=True, exist_ok=True)
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    overrides = [flag for flag in arguments if not flag.startswith("--config.data.dir")]
    what = {"task": FLAGS.task, "level": FLAGS.level, "preset": FLAGS.preset, "overrides": overrides}
    check_root(root, what)
    if summary(root / "data", "data") is None:
        call(root / "data", "saint", 0, "data", arguments)
    systems = [system(name) for name in FLAGS.systems]
    for seed in range(FLAGS.seeds):
        for each in systems:
            curves.setdefault(each.name, []).append(run(root, each, seed, arguments))
        best, rows = compare(curves)
        print(table(best, rows), flush=True)
    write(FLAGS.json, **what, seeds=FLAGS.seeds, best=best, rows=rows, curves=curves)
    if FLAGS.figure:
        plot(FLAGS.figure, best, curves, f"{FLAGS.task}, {FLAGS.level}, {FLAGS.preset}, {FLAGS.seeds} seeds")


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_enum("task", "cheetah_run", list(DM_CONTROL), "task")
    flags.DEFINE_string("level", "medium-expert", "config.data.level")
    flags.DEFINE_string("preset", "quick", "preset of the configuration; further --config.… flags go behind --")
    flags.DEFINE_integer("seeds", 3, "seeds", lower_bound=1)
    flags.DEFINE_list("systems", list(SYSTEMS), "policies, with fields of their own; the first saint is the reference")
    flags.DEFINE_string("root", None, "folder of the runs", required=True)
    flags.DEFINE_string("json", "", "write the results there")
    flags.DEFINE_string("figure", "", "write the figure there")
    command.run(main, takes="behind --, flags of main.py")
