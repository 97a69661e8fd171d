"""Runs studies: `python -m benchmarks.study NAME… --root=DIR`; NAME: those of benchmarks/studies, or all.

A study is a question and a list of runs of main.py, each with several seeds. Logs and ASMs are made once, in --root,
and shared by all runs of all studies. As many runs as --jobs work at once, each on cores of its own. A stopped or
killed study resumes when the same command is typed again; finished runs are not repeated. A run that fails is named at
the end, with its log, and the others go on. After every finished run, study_NAME.json is written anew; at the end the
page and the figure are, which --report writes from the JSON without running.
"""

import itertools
import pathlib
import re
from collections.abc import Callable, Sequence

from absl import flags

from benchmarks.studies import STUDIES
from benchmarks.study_base import Run, Study, checked, config_of, smallest
from benchmarks.study_jobs import ROOT, Job, all_jobs, finish, finished, jobs_of, row_of
from benchmarks.study_pool import Pool
from benchmarks.study_report import label, report
from spin_jax import command
from spin_jax.config.build import build, did_you_mean
from spin_jax.errors import ConfigError, UserError
from spin_jax.record.files import read_json, write_json
from spin_jax.record.machine import usable_cores
from spin_jax.record.progress import Progress, duration, log, setup_logging
from spin_jax.record.workdir import Workdir
from spin_jax.stages.estimate import Estimate

WAY_OUT = "Run the study first: python -m benchmarks.study NAME --root=DIR."


def chosen(names: Sequence[str]) -> list[Study]:
    """The studies of these names; raises ConfigError on an unknown name, or if there is none."""
    if not names:
        raise ConfigError(f"Name studies: all, or {', '.join(STUDIES)}.")
    for name in names:
        if name != "all" and name not in STUDIES:
            raise ConfigError(f"There is no study {name!r}.{did_you_mean(name, STUDIES)}")
    found = [study for name, study in STUDIES.items() if name in names or "all" in names]
    return [smallest(study) for study in found] if FLAGS.smallest else found


def title(study: Study, run: Run) -> str:
    """What tells a run from the others of its study; --only searches in it."""
    return f"{study.name}: {label(dict(run), (*study.panel, *study.line, study.x))}"


def wanted(study: Study) -> list[Run]:
    """The runs of a study whose title --only finds."""
    return [run for run in study.whole_runs if re.search(FLAGS.only, title(study, run))]


def write(study: Study, jobs: Sequence[Sequence[Job]], path: pathlib.Path) -> None:
    """Writes what the finished runs of a study, with these jobs, found as JSON."""
    found = [row_of(run, each) for run, each in zip(study.whole_runs, jobs, strict=True)]
    rows = [row for row in found if row is not None]
    about = {"study": study.name, "question": study.question, "seeds": study.seeds, "size": dict(study.size)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**about, **(rows[-1]["machine"] if rows else {}), "runs": rows})


def perform(jobs: Sequence[Job], workers: int, after: Callable[[Job], None]) -> dict[str, str]:
    """Runs the jobs that are not finished; after(job) follows each. Returns {name: why} of those that failed."""
    left = {job.name: job for job in jobs if finished(job) is None}
    count = itertools.count(len(jobs) - len(left) + 1)
    with Progress("study", len(jobs), start=len(jobs) - len(left), unit="run", every_seconds=0) as progress:

        def done(job: Job, peak_mb: float):
            finish(job, peak_mb)
            after(job)
            progress.update(next(count))

        pool = Pool([job._replace(needs=[name for name in job.needs if name in left]) for job in left.values()], done)
        pool.run(workers)
    return pool.failed


def show(studies: Sequence[Study], root: pathlib.Path) -> None:
    """Prints the runs; with --estimate, the minutes that each would take here, from a few timed steps."""
    total, seen = 0.0, set[str]()
    for study in studies:
        print(f"{study.name}: {study.question}")
        for run in wanted(study):
            jobs = jobs_of(run, root)
            state = "finished" if finished(jobs[-1]) else "to do"
            minutes = ""
            if FLAGS.estimate:
                new = {job.name.partition("-")[0] for job in jobs if job.name not in seen and not finished(job)}
                seconds = estimated(run, root, new)
                total += seconds
                minutes = f", {seconds / 60:.1f} minutes"
                seen |= {job.name for job in jobs}
            print(f"  {title(study, run)} ({state}{minutes})", flush=True)
    if FLAGS.estimate:
        print(f"in all about {duration(total)}, divided by the runs at once (--jobs)")


def estimated(run: Run, root: pathlib.Path, new: set[str]) -> float:
    """Seconds that the jobs `new` of a run (log, asm, run) take, start and compilation left out."""
    stages = {"log": ("data",), "asm": ("pretrain",), "run": ("distill", "policy", "evaluate")}
    config = config_of({**run, "data.dir": str(root / "data")})
    estimate = Estimate(build(config), Workdir(str(root / "estimate"), config))
    return sum(estimate.seconds([name for kind in sorted(new) for name in stages[kind]]).values())


def main(names: list[str]) -> int:
    setup_logging()
    studies, root = chosen(names), pathlib.Path(FLAGS.root).expanduser().absolute()
    places = (
        (root / "report", root / "report") if FLAGS.smallest else (ROOT / "benchmarks/results", ROOT / "docs/results")
    )
    results, docs = (pathlib.Path(f or p) for f, p in zip((FLAGS.results, FLAGS.docs), places, strict=True))
    runs = [run for study in studies for run in wanted(study)]
    for run in runs:
        checked(run)  # a wrong one is refused before the first begins
    if FLAGS.list or FLAGS.estimate:
        show(studies, root)
        return 0
    paths = {study.name: results / f"study_{study.name}.json" for study in studies}
    failed: dict[str, str] = {}
    if not FLAGS.report:
        jobs = {study.name: [jobs_of(run, root) for run in study.whole_runs] for study in studies}

        def after(job: Job):
            for study in studies:
                if any(job.name == own.name for *_, own in jobs[study.name]):
                    write(study, jobs[study.name], paths[study.name])

        failed = perform(all_jobs(runs, root), FLAGS.jobs or usable_cores(), after)
        for study in studies:
            write(study, jobs[study.name], paths[study.name])  # also of runs that were finished before
    for study in studies:
        found = read_json(paths[study.name], UserError, WAY_OUT, {"runs": list, "seeds": int})
        if found["runs"]:
            path = report(study, found, docs)
            print(f"{path.read_text()}\nwritten: {paths[study.name]}, {path}")
    for name, why in failed.items():
        log.error(f"failed: {name} ({root / 'logs' / name}.log): {why}")
    return 1 if failed else 0


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("root", None, "folder of logs, ASMs and runs", required=True)
    flags.DEFINE_string("only", "", "only runs whose line in --list has this regular expression")
    flags.DEFINE_integer("jobs", 0, "runs at once; 0 = one for each core", lower_bound=0)
    flags.DEFINE_boolean("list", False, "print the runs, and run nothing")
    flags.DEFINE_boolean("estimate", False, "the same with estimates of their minutes, a few steps of each are timed")
    flags.DEFINE_boolean("report", False, "write page and figure from the JSON, and run nothing")
    flags.DEFINE_boolean("smallest", False, "the first two runs of each study in preset smoke, reported in --root")
    flags.DEFINE_string("results", "", "folder of the JSON; benchmarks/results if empty")
    flags.DEFINE_string("docs", "", "folder of page and figure; docs/results if empty")
    command.run(main, takes="names of studies", resumes=True)
