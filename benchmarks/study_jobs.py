"""From the runs of studies to processes of main.py, logs and ASMs first, each once; and what finished ones found."""

import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.study_base import NOTHING, Run, config_of, settings
from spin_jax.errors import UserError
from spin_jax.record.files import read_json, write_json
from spin_jax.record.machine import facts
from spin_jax.registry import POLICIES

ROOT = pathlib.Path(__file__).parent.parent
LOG_FIELDS = r"config$|preset$|bins$|maze\.|structured\.|data\.(episodes|epsilon|seed)$"
ASM_FIELDS = r"config$|preset$|bins$|maze\.|structured\.|data\.|seed$|precision$|asm\.(?!epoch$|path$)"
WAY_OUT = "Delete it, and run the study again."
MACHINE = ("device", "processor", "cores", "versions", "commit")
SHOWN = ("config", "data.level", "policy", "learner")  # in a folder's name, before the digest of all fields


class Job(NamedTuple):
    """A process of main.py, or any other command: its name, its folder, what it needs, and what it is to be.

    settings: everything that its result follows from; a job is finished if `done` holds a record with the same.
    """

    name: str
    command: Sequence[str]
    workdir: pathlib.Path
    done: pathlib.Path
    log: pathlib.Path
    settings: dict[str, Any]
    needs: Sequence[str] = ()


def jobs_of(run: Run, root: pathlib.Path) -> list[Job]:
    """The jobs of a run, its own last: its log, its ASM if its policy reads one, and the run."""
    log = _job("log", _only(LOG_FIELDS, run) | {"policy": "factored"}, root, "data")
    config = config_of(run)
    if not POLICIES[config.policy].reads_asm:
        return [log, _job("run", run, root, "all", needs=[log.name])]
    fields = _only(ASM_FIELDS, run) | {"policy": "spin", "asm.masking": config.asm.masking}
    if "asm_level" in run:
        fields |= {"data.level": run["asm_level"]}
    body: list[Job] = []
    if run.get("body_of", NOTHING) != NOTHING:
        other = {name: value for name, value in fields.items() if name not in ("asm.num_epochs", "asm.learning_rate")}
        body = jobs_of(other | {"config": run["body_of"], "stage": "pretrain"}, root)
        fields |= {"body_of": run["body_of"]}
    start = [f"--config.asm.body_path={job.workdir / 'asm'}" for job in body[-1:]]
    asm = _job("asm", fields, root, "pretrain", start, needs=[log.name, *(job.name for job in body[-1:])])
    if run.get("stage") == "pretrain":
        return [log, *body, asm]
    borrowed = [f"--config.asm.path={asm.workdir / 'asm'}", *["--config.asm.other_data=true"] * ("asm_level" in run)]
    return [log, *body, asm, _job("run", run, root, "all", borrowed, needs=[asm.name])]


def all_jobs(runs: Iterable[Run], root: pathlib.Path) -> list[Job]:
    """The jobs of all runs, each once, in an order in which each comes after those that it needs."""
    return list({job.name: job for run in runs for job in jobs_of(run, root)}.values())


def _only(pattern: str, run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.items() if re.match(pattern, name)}


def _job(kind: str, run: Run, root: pathlib.Path, stage: str, extra: Sequence[str] = (), needs: Sequence[str] = ()):
    fields = dict(run)
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]
    words = [kind, *(str(fields[name]) for name in SHOWN if name in fields), digest]
    name = re.sub(r"[^\w.+-]", "_", "-".join(words))
    workdir = root / "runs" / name
    command = [sys.executable, str(ROOT / "main.py"), f"--config=configs/{run['config']}.py:{run['preset']}"]
    command += [f"--workdir={workdir}", f"--stage={stage}", f"--config.data.dir={root / 'data'}", *extra]
    command += [f"--config.{field}={value}" for field, value in settings(run).items()]
    done, log = (root / folder / f"{name}.{end}" for folder, end in (("done", "json"), ("logs", "log")))
    return Job(name, command, workdir, done, log, fields, needs)


def finished(job: Job) -> dict | None:
    """The record of a finished job; None if it is not finished, or was finished with other settings."""
    record = _read(job.done)
    return record if record and record.get("settings") == json.loads(json.dumps(job.settings)) else None


def finish(job: Job, peak_mb: float) -> None:
    """Records what the finished process of a job found: measures, seconds of its stages, machine."""
    results = _read(job.workdir / "results.json")
    pretrain = _read(job.workdir / "pretrain/summary.json") if results is None else None
    measured_on = results or facts()
    record = {
        "settings": job.settings,
        **(_of_policy(results, peak_mb) if results else _of_asm(pretrain, peak_mb) if pretrain else {}),
        "machine": {name: measured_on[name] for name in MACHINE},
    }
    job.done.parent.mkdir(parents=True, exist_ok=True)
    write_json(job.done, record)


def _read(path: pathlib.Path) -> dict | None:
    return read_json(path, UserError, WAY_OUT, {}) if path.exists() else None


def _of_policy(results: dict, peak_mb: float) -> dict:
    """measures: {name of study_base.MEASURES: one value a seed or, of what the seeds share, one value}."""
    by_seed = results["by_seed"] or {"": results}
    measures = {
        "return": [each["return_mean"] for each in by_seed.values()],
        "ms_per_step": [1000 / results["updates_per_second"]],
        "peak_mb": [round(peak_mb)],
    }
    seconds = {name: each for name, each in results["seconds"].items() if each is not None}
    return {"measures": measures, "seconds": seconds, "data_return": results["trained_on_return"]}


def _of_asm(summary: dict, peak_mb: float) -> dict:
    measures = {
        "exact_match": [summary["trained"]["exact_match"]],
        "exact_match_untrained": [summary["untrained"]["exact_match"]],
        "accuracy_product": [summary["trained"]["accuracy_product"]],
        "peak_mb": [round(peak_mb)],
    }
    return {"measures": measures, "seconds": {"pretrain": summary["seconds"]}}


def row_of(run: Run, jobs: Sequence[Job]) -> dict | None:
    """What a finished run, with these jobs, found, for the study's JSON; None if it is not finished.

    What its ASM, the job before, found counts as found by the run; `asm` is that job's name.
    """
    before, own = (finished(job) for job in jobs[-2:])
    if own is None:
        return None
    merged = {name: (before or {}).get(name, {}) | own[name] for name in ("measures", "seconds")}
    return {**own, "settings": dict(run), "asm": jobs[-2].name, **merged}
