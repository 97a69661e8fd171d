"""Does to smoke runs what disks, other people and other processes do: `python -m benchmarks.faults`.

After every fault the same command runs again. It must either end as the undisturbed run did, or refuse with one line;
anything else is listed, and the exit code is 1. Kinds of faults: damaged files (a flipped byte, a cut file), a full
disk (needs the right to mount a tmpfs), two writers, killed workers, swapped logs and ASMs, hostile folders.
"""

import pathlib

from absl import flags

from benchmarks.fault_base import Base
from benchmarks.fault_files import damaged, hostile, swaps
from benchmarks.fault_processes import dead_workers, full_disks, two_writers
from benchmarks.kills import working_folder
from benchmarks.measure import write
from spin_jax import command
from spin_jax.record.progress import watched

KINDS = {
    "damaged": damaged, "disk": full_disks, "writers": two_writers, "workers": dead_workers, "swaps": swaps,
    "hostile": hostile,
}  # fmt: skip


def main(_: list[str]) -> int:
    with working_folder(FLAGS.root) as folder:
        root = pathlib.Path(folder)
        base = Base(root / "base")
        faults = [fault for kind in FLAGS.only or KINDS for fault in KINDS[kind](base, root)][:: FLAGS.every]
        rows = []
        for fault in watched(faults, "faults", "fault"):
            rows.append(fault())
            write(FLAGS.json, faults=len(rows), rows=[row._asdict() for row in rows])  # what is known if it is stopped
    print("| kind | fault | what happens | what is said |\n|---|---|---|---|")
    for row in rows:
        line = row.line.replace(folder, "").replace("|", "/")
        print(f"| {row.kind} | {row.fault} | {'**BAD** ' if row.bad else ''}{row.outcome} | {line} |")
    bad = sum(row.bad for row in rows)
    print(f"\n{len(rows)} faults, {bad} that ended otherwise than they should")
    return int(bool(bad))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_multi_enum("only", [], list(KINDS), "kinds of faults; all by default")
    flags.DEFINE_integer("every", 1, "only every n-th fault", lower_bound=1)
    flags.DEFINE_string("root", None, "folder to work in; default: the temporary directory")
    flags.DEFINE_string("json", "", "file to write")
    command.run(main)
