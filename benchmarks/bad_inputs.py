"""Runs bad inputs through the real commands: `python -m benchmarks.bad_inputs`.

Every command runs in a process of its own, forked from one that has imported the libraries. It must end with exit code
1 or 2 and one line that names the wrong thing, without a traceback, and leave its folder as it was. Prints a table of
the kinds of input, and every case that ended otherwise; the exit code is 1 if there was one.
"""

import collections
import contextlib
import io
import os
import pathlib
import runpy
import signal
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

from absl import flags

from benchmarks.bad_cases import Case, fields, flags_of_main, workdirs
from benchmarks.bad_commands import collecting, imports, launching, measuring, policies
from benchmarks.bad_files import prepare
from benchmarks.measure import write
from spin_jax import command
from spin_jax.record.progress import watched

ROOT = pathlib.Path(__file__).parents[1]
OURS = ("only", "every", "json")  # flags that commands may define again
KINDS = (fields, flags_of_main, workdirs, imports, policies, collecting, launching, measuring)
LIMIT_S = 120  # a command that has not ended by then hangs


class End(NamedTuple):
    """How a command ended; problem: what was wrong with it, '' if nothing."""

    case: Case
    code: int
    last: str
    seconds: float
    problem: str


def run_case(case: Case, folder: pathlib.Path) -> End:
    """Runs one command in a forked process whose current folder is `folder`."""
    before, begin = contents(folder), time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        signal.alarm(LIMIT_S)
        _become(case, folder)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as file:
        told = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = told.strip().splitlines() or [""]
    return End(case, code, lines[-1], time.monotonic() - begin, problem(case, code, told, before != contents(folder)))


def _become(case: Case, folder: pathlib.Path) -> None:
    """Turns this process into the command, as a shell would start it in `folder`."""
    code = 70
    try:
        os.chdir(folder)
        sys.path.insert(0, str(ROOT))
        sys.argv = [case.program, *case.arguments]
        sys.modules.pop(case.program, None)
        for name in (*OURS, "debug"):
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
        if case.program.endswith(".py"):
            runpy.run_path(str(ROOT / case.program), run_name="__main__")
        else:
            runpy.run_module(case.program, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = 1 if isinstance(end.code, str) else int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def problem(case: Case, code: int, told: str, changed: bool) -> str:
    """What is wrong with how a command ended, in a few words."""
    lines = told.strip().splitlines() or [""]
    last = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])  # rows may be listed below
    if code == -signal.SIGALRM:
        return f"hangs for {LIMIT_S} s"
    if code == 0:
        return "is accepted"
    if "Traceback" in told or "unexpected" in last:
        return "a traceback"
    if code not in (1, 2):
        return f"exit code {code}"
    if not last.startswith("error: "):
        return "no line begins with 'error:'"
    if case.names.lower() not in told.lower():
        return f"{case.names!r} is not named"
    return "something was written or lost" if changed else ""


def contents(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Path, size and time of every file and folder."""
    found = sorted(folder.rglob("*"))
    return {str(p): (p.lstat().st_size, 0 if p.is_dir() else p.lstat().st_mtime_ns) for p in found}


def table(found: list[End]) -> str:
    """A line for each kind of input."""
    kinds = collections.defaultdict(list)
    for end in found:
        kinds[end.case.kind].append(end)
    lines = ["| kind of input | cases | refused in one line | seconds, median |", "|---|---|---|---|"]
    for kind, among in kinds.items():
        seconds = sorted(end.seconds for end in among)[len(among) // 2]
        lines.append(f"| {kind} | {len(among)} | {sum(not end.problem for end in among)} | {seconds:.1f} |")
    return "\n".join(lines)


def warm_up() -> None:
    """Imports what the commands import, but no command, and starts no thread that a fork would lose."""
    import matplotlib.figure  # noqa: F401
    import orbax.checkpoint  # noqa: F401

    import spin_jax.config.build
    import spin_jax.logs.import_table  # noqa: F401


def main(_: list[str]) -> int:
    with contextlib.redirect_stderr(io.StringIO()):
        warm_up()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch).resolve()
        prepare(folder)
        cases = [case for kind in KINDS for case in kind() if FLAGS.only in case.kind][:: FLAGS.every]
        found = [run_case(case, folder) for case in watched(cases, "bad inputs", "case")]
    wrong = [end for end in found if end.problem]
    print(table(found))
    for end in wrong:
        line = f"{end.case.program} {' '.join(end.case.arguments)}"
        print(f"\n{end.problem}: {line}\n    exit code {end.code}: {end.last}")
    print(f"\n{len(found)} bad inputs, {len(found) - len(wrong)} refused in one line that names the thing")
    write(FLAGS.json, cases=len(found), wrong=[f"{end.problem}: {end.case}" for end in wrong])
    return int(bool(wrong))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("only", "", "only kinds of input whose name contains this")
    flags.DEFINE_integer("every", 1, "only every n-th case", lower_bound=1)
    flags.DEFINE_string("json", "", "file to write")
    command.run(main)
