"""A finished smoke run that faults are done to copies of, and how its command ends afterwards."""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.kills import REPOSITORY, Run

SAME, REFUSED, SAID = "ends as if nothing had happened", "refused", "goes on, and says so"
POLICY = "spin_cached"  # with encodings, so that every kind of file exists
OPTIONS = [f"--config={REPOSITORY}/configs/cheetah_run.py:smoke", f"--config.policy={POLICY}"]


class Row(NamedTuple):
    """A fault and what came of it; bad: neither the same end nor one line."""

    kind: str
    fault: str
    outcome: str
    line: str
    bad: bool


class Base:
    """A finished smoke run that faults are done to copies of."""

    def __init__(self, root: pathlib.Path, *options: str):
        self.options = [*OPTIONS, *options]
        self.run = Run(root, self.options)
        self.run.go()
        self.facts = self.run.facts()

    def copy(self, root: pathlib.Path) -> Run:
        """The run in another folder, where it finds its own data."""
        made = Run(root, self.options)
        for name in ("work", "data"):
            shutil.copytree(self.run.root / name, root / name, symlinks=True)
        config = root / "work" / "config.json"
        config.write_text(config.read_text().replace(str(self.run.root), str(root)))
        return made


Fault = Callable[[], Row]


def told(run: Run, **environment: str) -> tuple[int, list[str]]:
    """(exit code, lines) of the command of a run."""
    here = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    done = subprocess.run(run.command, capture_output=True, text=True, env=here, timeout=600)
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()


def refusal(lines: list[str]) -> tuple[str, bool]:
    """(the line that refuses, whether it is not the only one or there is a traceback)."""
    errors = [line for line in lines if line.startswith("error: ")]
    traceback = any("Traceback" in line or line.startswith("error: unexpected") for line in lines)
    return (errors or lines or [""])[-1], len(errors) != 1 or traceback


def outcome(kind: str, fault: str, run: Run, base: Base, data: bool = True, damaged: str = "") -> Row:
    """Runs the command and says how it ended; data: its data sets are compared, too.

    damaged: the file of the workdir that was damaged; it may differ where that is said.
    """
    code, lines = told(run)
    if code:
        line, bad = refusal(lines)
        return Row(kind, fault, REFUSED, line, bad)
    warned = [line for line in lines if "anew" in line or "left out" in line or "not kept" in line]
    differ = {name for name, fact in run.facts(data).items() if base.facts.get(name) != fact}
    other = sorted(differ - {damaged} if warned else differ)
    bad = bool(other) or any("Traceback" in line for line in lines)
    end = f"other results: {', '.join(other)}" if other else SAID if warned else SAME
    return Row(kind, fault, end, warned[-1] if warned else "", bad)
