"""benchmarks.study: the lists, what runs share, processes that fail or are killed, and the statistics of its pages."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.studies import STUDIES
from benchmarks.study_base import NOTHING, checked, config_of, grid, smallest
from benchmarks.study_jobs import MACHINE, ROOT, Job, all_jobs, finish, finished, jobs_of, row_of
from benchmarks.study_pool import Pool, shares
from spin_jax.errors import ConfigError

HERE = pathlib.Path("/root_of_runs")
EVERY = [size(study) for study in STUDIES.values() for size in (lambda whole: whole, smallest)]


@pytest.mark.parametrize("study", EVERY, ids=lambda study: f"{study.name}-{study.seeds}")
def test_every_run_of_every_study_is_a_configuration_that_the_package_takes(study):
    runs = study.whole_runs
    assert {*study.line, *study.panel, study.x} <= {name for run in runs for name in run}
    for run in runs:
        assert study.x in run
        assert checked(run).num_seeds == run["num_seeds"]
    own = [jobs_of(run, HERE)[-1].name for run in runs]
    assert len(set(own)) == len(own)  # no run stands twice


def test_a_typo_in_a_list_is_named():
    with pytest.raises(ConfigError, match=r"config.asm.widht is no field.*Did you mean 'config.asm.width'\?"):
        config_of({"config": "maze", "preset": "quick", "asm.widht": 3})
    with pytest.raises(ConfigError, match=r"config.bins cannot be '3'"):
        config_of({"config": "maze", "preset": "quick", "bins": "3"})
    with pytest.raises(ConfigError, match=r"task is 'labyrinth'"):
        config_of({"config": "labyrinth", "preset": "quick"})


def test_a_grid_by_hand():
    found = grid(a__b=(1, 2), task=({"c": 3, "d": 4}, {"c": 5}))
    assert found == [{"a.b": 1, "c": 3, "d": 4}, {"a.b": 1, "c": 5}, {"a.b": 2, "c": 3, "d": 4}, {"a.b": 2, "c": 5}]


def run_of(policy="factored", **fields):
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return {"config": "maze", "preset": "quick", "num_seeds": 5, "policy": policy, **named}


def names(runs, kind):
    return [job.name for job in all_jobs(runs, HERE) if job.name.startswith(kind)]


def test_runs_share_what_they_can():
    """One log for all levels, one ASM for policies that mask it alike, for all its epochs and all learners."""
    alike = [run_of("spin"), run_of("spin", asm__epoch=3), run_of("spin", learner="awac", train__num_steps=7)]
    assert len(names(alike, "log")) == len(names(alike, "asm")) == 1
    assert len(names([run_of("spin_warm"), run_of("spin_cached"), run_of("spin")], "asm")) == 2
    assert len(names([run_of("spin"), run_of("spin", asm__width=8)], "asm")) == 2
    levels = [run_of("spin", data__level=level) for level in ("medium", "expert")]
    assert (len(names(levels, "log")), len(names(levels, "asm"))) == (1, 2)
    assert names([run_of("factored")], "asm") == []
    log, asm, own = jobs_of(run_of("spin"), HERE)
    assert (asm.needs, own.needs) == ([log.name], [asm.name])
    assert f"--config.asm.path={HERE}/runs/{asm.name}/asm" in own.command
    assert "--config.asm.masking=fixed" in asm.command


def test_an_asm_of_another_level_is_that_level_s():
    other = run_of("spin", data__level="expert", asm_level="medium")
    assert jobs_of(other, HERE)[1].name == jobs_of(run_of("spin", data__level="medium"), HERE)[1].name
    assert "--config.asm.other_data=true" in jobs_of(other, HERE)[-1].command


def test_a_body_of_another_task_is_of_an_asm_that_is_trained_before():
    trained = {"asm__num_epochs": 3, "asm__learning_rate": 1e-2}
    plain, other = run_of("spin", **trained), run_of("spin", **trained, body_of="cheetah_run")
    assert [job.name for job in jobs_of(plain | {"body_of": NOTHING}, HERE)][:2] == [
        job.name for job in jobs_of(plain, HERE)
    ][:2]
    _, _, theirs, asm, own = jobs_of(other, HERE)
    assert "--config=configs/cheetah_run.py:quick" in theirs.command
    assert not [
        flag for flag in theirs.command if re.match("--config.asm.(num_epochs|learning_rate)", flag)
    ]  # its preset's
    assert f"--config.asm.body_path={HERE}/runs/{theirs.name}/asm" in asm.command
    assert theirs.name in asm.needs
    assert own.needs == [asm.name]
    assert asm.name != jobs_of(plain, HERE)[1].name


def fake(root, name, code, needs=()):
    """A job that notes its start and then runs `code`."""
    workdir, started = root / name, root / "started"
    code = f"import pathlib, time\nopen({str(started)!r}, 'a').write({name!r} + ' ')\n{code}"
    done, log = root / "done" / f"{name}.json", root / "logs" / f"{name}.log"
    return Job(name, [sys.executable, "-c", code], workdir, done, log, {"name": name}, needs)


def test_a_job_that_fails_takes_along_what_needs_it_and_nothing_else(tmp_path):
    bad = fake(tmp_path, "bad", "raise SystemExit('no luck')")
    jobs = [
        bad,
        fake(tmp_path, "after_bad", "", ["bad"]),
        fake(tmp_path, "last", "", ["after_bad"]),
        fake(tmp_path, "good", ""),
        fake(tmp_path, "b", "", ["good"]),
    ]
    done = []
    pool = Pool(jobs, lambda job, peak_mb: done.append((job.name, peak_mb > 1)))
    pool.run(2)
    assert sorted(done) == [("b", True), ("good", True)]
    assert pool.failed == {"bad": "exit code 1: no luck", "after_bad": "needs bad", "last": "needs after_bad"}
    assert set((tmp_path / "started").read_text().split()) == {"bad", "good", "b"}


def test_an_error_of_ours_ends_the_pool_and_its_processes(tmp_path):
    def fail(job, peak_mb):
        raise RuntimeError("no room")

    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="no room"):
        Pool([fake(tmp_path, "quick", ""), fake(tmp_path, "slow", "time.sleep(60)")], fail).run(2)
    assert time.monotonic() - begin < 30


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    assert shares(2) == [{0, 1}, {2, 5}]
    assert shares(4) == [{0}, {1}, {2}, {5}]
    assert shares(5) == [{0, 1, 2, 5}] * 5


DRIVER = """
import sys, pathlib
sys.path[:0] = [{root!r}, {tests!r}]
from benchmarks.study import perform
from test_study import fake
root = pathlib.Path(sys.argv[1])
perform([fake(root, "first", ""), fake(root, "second", f"time.sleep({{sys.argv[2]}})")], 1, lambda job: None)
"""


@pytest.mark.slow
def test_after_a_kill_finished_runs_are_not_repeated(tmp_path):
    code = DRIVER.format(root=str(ROOT), tests=str(ROOT / "tests"))
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen([*command, "100"], start_new_session=True)
    wait_for(lambda: (tmp_path / "started").exists() and "second" in (tmp_path / "started").read_text())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert subprocess.run([*command, "0"], timeout=60).returncode == 0
    assert (tmp_path / "started").read_text().split() == ["first", "second", "second"]
    assert all(finished(fake(tmp_path, name, "")) for name in ("first", "second"))
    other = fake(tmp_path, "first", "")._replace(settings={"name": "other settings"})
    assert finished(other) is None


def wait_for(holds, seconds=60):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def start(root, *arguments):
    command = [sys.executable, "-m", "benchmarks.study", "maze", "--smallest", f"--root={root}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_failed_run_is_named_with_its_log(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    process = start(tmp_path)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    log = next((tmp_path / "logs").iterdir())
    assert f"({log}): exit code 1: error: config.data.dir is {tmp_path}/data, which is a file" in error
    assert error.count("needs log-maze") == 2  # the ASM, and the run without


@pytest.mark.slow
def test_sigterm_stops_the_processes_of_a_study(tmp_path):
    def at_work():
        lines = [path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        return [line for line in lines if str(tmp_path).encode() in line and b"main.py" in line]

    if not pathlib.Path("/proc/self/cmdline").exists():
        pytest.skip("needs /proc")
    process = start(tmp_path, "--jobs=1")
    wait_for(at_work)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 143
    assert error.splitlines()[-1] == "Stopped by SIGTERM. The same command goes on from what is saved."
    assert not at_work()


def test_what_a_finished_run_found(tmp_path):
    """Returns of each seed, milliseconds of a step, and the exact match of its ASM."""
    run = run_of("spin")
    jobs, machine = jobs_of(run, tmp_path), dict.fromkeys(MACHINE, "x")
    trained = {"exact_match": 0.5, "accuracy_product": 0.25}
    results = {
        "by_seed": {"0": {"return_mean": 1.0}, "1": {"return_mean": 3.0}},
        "updates_per_second": 200.0,
        "seconds": {"policy": 10.0, "distill": None},
        "trained_on_return": 2.0,
    }
    left = (
        {},
        {"pretrain/summary.json": {"seconds": 4.0, "trained": trained, "untrained": {"exact_match": 0.0}}},
        {"results.json": results | machine},
    )
    for job, files in zip(jobs, left, strict=True):
        assert row_of(run, jobs) is None
        for name, values in files.items():
            (job.workdir / name).parent.mkdir(parents=True)
            (job.workdir / name).write_text(json.dumps(values))
        finish(job, 700.4)
    row = row_of(run, jobs)
    assert row["measures"] == {
        "peak_mb": [700],
        "return": [1.0, 3.0],
        "ms_per_step": [5.0],
        "exact_match": [0.5],
        "exact_match_untrained": [0.0],
        "accuracy_product": [0.25],
    }
    assert row["seconds"] == {"policy": 10.0, "pretrain": 4.0}
    assert (row["settings"], row["machine"], row["asm"]) == (run, machine, jobs[1].name)
    assert row_of({**run, "stage": "pretrain"}, jobs[:2])["measures"]["exact_match"] == [0.5]
    assert "exact_match" not in row_of(run, jobs[::2])["measures"]
