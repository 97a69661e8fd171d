"""Faults of files: a flipped byte or a cut in every kind of file, swapped ASMs and logs, hostile folders."""

import contextlib
import functools
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator

from benchmarks.fault_base import REFUSED, Base, Fault, Row, outcome
from benchmarks.kills import Run

NUMBER = re.compile(r"[0-9a-f]{32}$|tfevents.*|(?<=/)\d+(?=/)|-\d{5}-of-\d{5}")
END = "policy/state/80"  # the last step of stage 2


def kinds_of_files(run: Run) -> dict[str, pathlib.Path]:
    """One file of every kind that a run writes, by its path without numbers; of several, that of the last step."""
    found = {}
    for folder in (run.work, run.data):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size and not path.is_relative_to(run.work / END):
                found[NUMBER.sub("*", str(path.relative_to(run.root)))] = path
    return found


def flip(path: pathlib.Path) -> None:
    """Changes a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x21
    path.write_bytes(data)


def cut(path: pathlib.Path) -> None:
    """Cuts a file to half of its length."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged(base: Base, root: pathlib.Path) -> Iterator[Fault]:
    """A flipped byte and a cut in one file of every kind."""
    for name, path in kinds_of_files(base.run).items():
        for how in (flip, cut):
            yield functools.partial(_damage, base, root, name, path, how)


def _damage(base: Base, root: pathlib.Path, name: str, path: pathlib.Path, how: Callable) -> Row:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        run = base.copy(pathlib.Path(folder) / "run")
        here = run.root / path.relative_to(base.run.root)
        how(here)
        # stage 2 is unfinished, so that all that it reads is read
        shutil.rmtree(run.work / END, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (run.work / "policy" / "summary.json").unlink()
        # a shard that the run does not read stays damaged
        damaged = str(here.relative_to(run.work)) if here.is_relative_to(run.work) else ""
        return outcome("damaged files", f"{how.__name__}: {name}", run, base, False, damaged)


def swaps(base: Base, root: pathlib.Path) -> Iterator[Fault]:
    """Another ASM, another log, another split where the run's own was."""
    yield functools.partial(_swapped, base, root, "the ASM of another seed", _other_asm)
    yield functools.partial(_swapped, base, root, "the log of another seed", _other_log)
    yield functools.partial(_swapped, base, root, "medium's shard in place of expert's", _other_shard)


def _swapped(base: Base, root: pathlib.Path, what: str, swap: Callable[[Run, Run], None]) -> Row:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        run = base.copy(pathlib.Path(folder) / "run")
        other = Run(pathlib.Path(folder) / "other", [*base.options, "--config.seed=7", "--config.data.seed=7"])
        if swap is not _other_shard:
            other.go()
        swap(run, other)
        return outcome("swapped", what, run, base)


def _other_asm(run: Run, other: Run) -> None:
    shutil.rmtree(run.work / "asm")
    shutil.copytree(other.work / "asm", run.work / "asm")


def _other_log(run: Run, other: Run) -> None:
    (mine,), (theirs,) = (list(r.data.glob("factorised_dmc/*/1.0.0")) for r in (run, other))
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)


def _other_shard(run: Run, _: Run) -> None:
    (medium,), (expert,) = (list(run.data.rglob(f"*-{split}.array_record*")) for split in ("medium", "expert"))
    shutil.copy(medium, expert)


def hostile(base: Base, root: pathlib.Path) -> Iterator[Fault]:
    """A data set that names code, and a workdir with links to files of others."""
    yield functools.partial(_hostile_data, base, root)
    yield functools.partial(_links, base, root)


def _hostile_data(base: Base, root: pathlib.Path) -> Row:
    run = base.copy(root / "hostile")
    (root / "evil_features.py").write_text(f"open({str(root / 'ran')!r}, 'w')\n")
    (features,) = run.data.rglob("features.json")
    named = re.sub(
        r'"pythonClassName": "[^"]*"', '"pythonClassName": "evil_features.Evil"', features.read_text(), count=1
    )
    features.write_text(named)
    row = outcome("hostile", "features.json names a class of another module", run, base)
    return row._replace(bad=row.bad or row.outcome != REFUSED or (root / "ran").exists())


def _links(base: Base, root: pathlib.Path) -> Row:
    run, precious = base.copy(root / "links"), root / "precious"
    precious.write_text("mine\n")
    for name in ("curves.png", "results.json", "evaluate/summary.json.tmp", "video.webp"):
        (run.work / name).unlink(missing_ok=True)
        (run.work / name).symlink_to(precious)
    row = outcome("hostile", "links to a file of others where the run writes", run, base)
    return row._replace(bad=precious.read_text() != "mine\n" or (row.bad and row.outcome != REFUSED))
