"""From a study's JSON to its page: tables and a figure with interquartile means over seeds and bootstrap intervals."""

import contextlib
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study_base import MEASURES, Study
from spin_jax.evaluation.scores import interquartile_mean, stratified_interval
from spin_jax.record.files import replacing, write_text
from spin_jax.record.progress import duration
from spin_jax.registry import LEARNERS, POLICIES

FINDINGS = pathlib.Path(__file__).parent / "studies" / "findings"
ALL = "all"
LOG = "mean of the log"


class Cell(NamedTuple):
    """The interquartile mean of a cell's values and its interval; both ends are the mean where there is one value."""

    mean: float
    low: float
    high: float
    values: int

    def __str__(self) -> str:
        digits = 3 if max(abs(self.low), abs(self.high)) < 10 else 1
        mean, low, high = (f"{value:.{digits}f}" for value in (self.mean, self.low, self.high))
        return mean if self.values == 1 else f"{mean} [{low}, {high}]"


def cell(strata: Sequence[Sequence[float]]) -> Cell:
    """The Cell of the values of each task."""
    values = np.concatenate([np.asarray(each, float) for each in strata])
    mean = float(interquartile_mean(values))
    low, high = stratified_interval([np.asarray(each, float) for each in strata]) if len(values) > 1 else (mean, mean)
    return Cell(mean, low, high, len(values))


def label(settings: dict, fields: Sequence[str]) -> str:
    """The values of some fields of a run, as a line or a picture is named after them: "spin, top_fraction 0.25"."""
    found = {name.split(".")[-1]: settings[name] for name in fields if name in settings}
    return ", ".join(value if isinstance(value, str) else f"{name} {value}" for name, value in found.items())


def cells(study: Study, rows: Sequence[dict], measure: str) -> dict[str, dict[str, dict[str, Cell]]]:
    """{panel: {line: {x: Cell}}} of the runs that have the measure.

    Of returns, LOG is one of the lines, where all runs of an x have one log; with study.pooled, ALL is one of x.
    """
    strata: dict[str, dict[str, dict[str, Any]]] = {}
    logs: dict[str, dict[str, set[Any]]] = {}
    for row in rows:
        if measure in row["measures"]:
            settings = row["settings"]
            panel, x = label(settings, study.panel), str(settings[study.x])
            strata.setdefault(panel, {}).setdefault(label(settings, study.line), {})[x] = row["measures"][measure]
            logs.setdefault(panel, {}).setdefault(x, set()).add(row.get("data_return"))
    found: dict[str, dict[str, dict[str, Cell]]] = {}
    for panel, lines in strata.items():
        found[panel] = {name: {x: cell([values]) for x, values in line.items()} for name, line in lines.items()}
        if measure == "return":
            for name, line in lines.items() if study.pooled else ():
                found[panel][name][ALL] = cell(list(line.values()))
            of_log = {
                x: cell([list(means)]) for x, means in logs[panel].items() if len(means) == 1 and None not in means
            }
            found[panel] |= {LOG: of_log} if of_log else {}
    return found


def columns_of(lines: dict[str, dict[str, Cell]]) -> list[str]:
    """The values of x: numbers ascending, words in the order of the runs, ALL at the end."""
    columns = list(dict.fromkeys(x for line in lines.values() for x in line if x != ALL))
    with contextlib.suppress(ValueError):
        columns.sort(key=float)
    return [*columns, *([ALL] if any(ALL in line for line in lines.values()) else [])]


def table(study: Study, lines: dict[str, dict[str, Cell]]) -> str:
    """A Markdown table: a row for each line, a column for each x."""
    columns = columns_of(lines)
    head = f"| {', '.join(study.line)} \\ {study.x} | " + " | ".join(columns) + " |"
    rows = ["| " + " | ".join([name, *(str(line.get(x, "")) for x in columns)]) + " |" for name, line in lines.items()]
    return "\n".join([head, "|---" * (len(columns) + 1) + "|", *rows])


def draw(study: Study, rows: Sequence[dict], path: pathlib.Path) -> None:
    """Draws a picture for each measure and panel; values of x stand at equal distances, ordered as in `columns_of`.

    A measure begins a row of pictures; more than four go on in rows of three. A line has one colour in all pictures.
    Points are joined where x is a number.
    """
    found = {measure: cells(study, rows, measure) for measure in study.measures}
    most = max(map(len, found.values()))
    width = max(most, 1) if most <= 4 else 3
    pictures = [
        (measure, list(panels.items())[start : start + width])
        for measure, panels in found.items()
        for start in range(0, len(panels), width)
    ]
    names = dict.fromkeys(name for panels in found.values() for lines in panels.values() for name in lines)
    colours = {name: f"C{i}" for i, name in enumerate(name for name in names if name != LOG)} | {LOG: "black"}
    numbers = not any(isinstance(row["settings"][study.x], str) for row in rows)
    figure = Figure(figsize=(max(4.2 * width, 6.5), 3.4 * max(len(pictures), 1) + 0.6), layout="constrained")
    axes = figure.subplots(max(len(pictures), 1), width, squeeze=False)
    for axes_of_row, (measure, of_row) in zip(axes, pictures, strict=False):
        for axis in axes_of_row[len(of_row) :]:
            axis.remove()
        for axis, (panel, lines) in zip(axes_of_row, of_row, strict=False):
            ticks = [x for x in columns_of(lines) if x != ALL]
            for i, (name, line) in enumerate(lines.items()):
                shown = [x for x in ticks if x in line]
                at = np.array([ticks.index(x) for x in shown]) + 0.06 * (i - (len(lines) - 1) / 2)
                mean, low, high = np.array([line[x][:3] for x in shown]).T
                joined = "none" if not numbers else ":" if name == LOG else "-"
                style = {"color": colours[name], "ls": joined, "label": name}
                axis.errorbar(at, mean, [mean - low, high - mean], marker="o", ms=3, lw=1, capsize=2, **style)
            axis.set_xticks(range(len(ticks)), [textwrap.fill(x, 14) for x in ticks])
            axis.set(xlabel=study.x, ylabel=textwrap.fill(MEASURES[measure], 36), xlim=(-0.5, len(ticks) - 0.5))
            axis.set_title(panel, fontsize="medium")
            axis.grid(alpha=0.3)
    drawn = {line.get_label(): line for axis in axes.flat for line in axis.containers}
    figure.legend([drawn[name] for name in names], list(names), loc="outside lower center", ncols=4, fontsize="small")
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)


def sizes(study: Study, found: dict) -> str:
    """The fields of all runs, and then those that all runs of a configuration share beside them.

    Sections of learners and policies that no run has are left out.
    """
    runs = [row["settings"] for row in found["runs"]]
    used = {run.get("policy") for run in runs} | {run.get("learner", "iql") for run in runs}  # iql unless a run says
    idle = {*LEARNERS, *POLICIES} - used

    def written(fields: dict) -> str:
        return ", ".join(f"`{name}={value}`" for name, value in fields.items())

    common = {name: value for name, value in found["size"].items() if name.partition(".")[0] not in idle}
    parts = [written(common) or "of the preset"]
    told = {*found["size"], "preset", "num_seeds", "config", study.x, *study.panel, *study.line}
    for config in dict.fromkeys(run["config"] for run in runs):
        first, *others = (run for run in runs if run["config"] == config)
        shared = {name: value for name, value in first.items() if all(run.get(name) == value for run in others)}
        own = {name: value for name, value in shared.items() if name not in told}
        parts += [f"{config}: {written(own)}"] if own else []
    return "; ".join(parts)


def page(study: Study, found: dict) -> str:
    """The page of a study in Markdown; findings are written by hand in benchmarks/studies/findings/NAME.md."""
    rows, machine = found["runs"], found["runs"][-1]["machine"]
    findings = FINDINGS / f"{study.name}.md"
    smallest = " --smallest" * (found["size"].get("preset") == "smoke")
    per_run = f"{found['seeds']} seed{'s' * (found['seeds'] > 1)}"
    asms = {row.get("asm", i): row["seconds"].get("pretrain", 0.0) for i, row in enumerate(rows)}  # several share one
    own = sum(seconds for row in rows for stage, seconds in row["seconds"].items() if stage != "pretrain")
    spent = duration(own + sum(asms.values()))
    commits = dict.fromkeys(row["machine"]["commit"][:10] for row in rows)
    parts = [
        f"# Study {study.name}",
        study.question,
        *([findings.read_text().strip()] if findings.exists() else []),
        f"`python -m benchmarks.study {study.name} --root=DIR{smallest}`: {len(rows)} of {len(study.runs)} runs, "
        f"{per_run} each, {spent} of processes that had a share of {machine['cores']} cores ({machine['processor']}), "
        f"JAX {machine['versions']['jax']}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}. "
        f"Size: {sizes(study, found)}. "
        "Each figure is the interquartile mean over seeds, with its 95 % stratified bootstrap interval; "
        "the seeds of a run share one log and one ASM.",
        f"![{study.name}]({study.name}.png)",
    ]
    for measure in study.measures:
        for panel, lines in cells(study, rows, measure).items():
            parts += [f"## {MEASURES[measure].capitalize()}{', ' + panel if panel else ''}", table(study, lines)]
    return "\n\n".join(parts) + "\n"


def report(study: Study, found: dict, docs: pathlib.Path) -> pathlib.Path:
    """Writes docs/NAME.md and docs/NAME.png from the study's JSON; returns the page's path."""
    docs.mkdir(parents=True, exist_ok=True)
    draw(study, found["runs"], docs / f"{study.name}.png")
    write_text(docs / f"{study.name}.md", page(study, found))
    return docs / f"{study.name}.md"
