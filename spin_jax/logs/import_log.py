"""Import logs: `python -m spin_jax.logs.import_log FILE… --task=cheetah_run --bins=3 --level=expert`.

FILE is one of the published suite's pickles (`<bins>_bins/<domain>-<task>-<level>`), or a .npz or .parquet file with
columns observation, action, reward, terminal, timeout and optionally next_observation. Several files become one data
set; an episode never continues from one file into the next. The result is `imported_log/<name>/1.0.0` with the split
`train`; give its path as config.data.path.
"""

import hashlib
import pathlib
import re
import sys

import numpy as np
from absl import app, flags

from spin_jax.data.card import card_table, data_card
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import DataError
from spin_jax.logs.columns import check_columns, cut_episodes
from spin_jax.logs.data_set import write_log
from spin_jax.logs.files import npz_columns, parquet_columns
from spin_jax.logs.suite_pickle import suite_columns
from spin_jax.record.progress import Progress, log, setup_logging
from spin_jax.types import ActionSpec, Episode


def read_log(
    path: pathlib.Path, widths: tuple[int, int] | None, cardinalities: tuple[int, ...] | int | None
) -> tuple[list[Episode], dict]:
    """The episodes of one file, and its record for the card: SHA-256, number of rows, how its episodes ended."""
    megabytes = (path.stat().st_size >> 20) + 1 if path.is_file() else 1
    with Progress(f"import: reading {path.name}", megabytes, unit="megabyte") as progress:
        if path.suffix in (".npz", ".parquet"):
            raw = (npz_columns if path.suffix == ".npz" else parquet_columns)(path)
            columns, about = check_columns(raw, path, widths, cardinalities, every_next=False), {}
        else:
            raw = suite_columns(path, widths, lambda count: progress.update(count >> 20))
            columns = check_columns(raw, path, widths, cardinalities, every_next=True)
            about = {"format": "suite"}
        progress.update(megabytes)
    episodes, cuts = cut_episodes(columns)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {"file": path.name, "sha256": digest, "rows": len(columns.reward), **about, **cuts}
    if cuts["dropped_transitions"]:
        log.info(
            f"import: {path.name}: {cuts['dropped_transitions']} transitions dropped: the last ones of episodes that a "
            f"time limit ended, their next observations are not known"
        )
    return episodes, record


def import_log(
    files: list[pathlib.Path],
    data_dir: pathlib.Path,
    task: str,
    level: str,
    bins: int | None = None,
    cardinalities: tuple[int, ...] | None = None,
    name: str | None = None,
) -> pathlib.Path:
    """Write the data set of `files` and return its directory; all files are checked before anything is written.

    task: if TASKS has it, widths and choices are checked against it, and `bins` is needed. For another task give `bins`
    (choices of every slot), `cardinalities` (of each slot), or neither (then each slot has its largest choice + 1).
    `done` in the suite's files becomes a terminal; config.data.done says whether that is what it means. Raises
    DataError on bad files and settings, and if a data set of that name exists; that one is not changed.
    """
    name = name or "-".join([task, *([f"{bins}bins"] if bins else []), level])
    target = data_dir / "imported_log" / name
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"--name={name} must consist of letters, digits, '_', '-' and '.'.")
    if target.exists():
        raise DataError(f"{target} is there already and stays as it is. Choose another --name, or move it away.")
    if not files:
        raise DataError("No file to import was named.")
    if task in TASKS and (not bins or cardinalities):
        raise DataError(f"{task} has the same choices in every slot: give --bins, and no --cardinalities.")
    if bins and cardinalities:
        raise DataError("Give --bins (of every slot) or --cardinalities (of each), not both.")
    widths = (TASKS[task].num_features, TASKS[task].num_slots) if task in TASKS else None
    episodes: list[Episode] = []
    records: list[dict] = []
    for path in files:
        found, record = read_log(path, widths, cardinalities or bins)
        if not found:
            raise DataError(f"{path}: no episode is left of its {record['rows']} rows.")
        episodes, records = episodes + found, [*records, record]
        widths = found[0].observation.shape[1], found[0].action.shape[1]
    if not (bins or cardinalities):
        cardinalities = tuple(int(k) + 1 for k in np.max([e.action.max(0) for e in episodes], axis=0))
        log.info(f"import: choices of each slot, from the largest that occurs: {','.join(map(str, cardinalities))}")
    spec = ActionSpec(cardinalities or (bins or 0,) * episodes[0].action.shape[1])
    origin = {"imported_by": "python -m spin_jax.logs.import_log", "task": task, "bins": bins, "level": level}
    card = data_card(episodes, spec, origin | {"files": records})
    directory = write_log(target, episodes, card)
    log.info(f"import: {directory}\n{card_table({'train': card})}")
    return directory


def main(argv: list[str]) -> None:
    setup_logging()
    files = [pathlib.Path(path) for path in argv[1:]]
    data_dir = pathlib.Path(FLAGS.data_dir).expanduser().absolute()
    task = FLAGS.task.replace("-", "_")  # cheetah-run in the suite's names
    try:
        if not all(re.fullmatch(r"[1-9]\d*", k) for k in FLAGS.cardinalities):
            raise DataError(f"--cardinalities={','.join(FLAGS.cardinalities)} must be whole numbers such as 3,3,7.")
        cardinalities = tuple(int(k) for k in FLAGS.cardinalities) or None
        directory = import_log(files, data_dir, task, FLAGS.level, FLAGS.bins, cardinalities, FLAGS.name)
    except DataError as error:
        sys.exit(f"error: {error}")
    config = f"--config=configs/{task}.py --config.bins={FLAGS.bins} " if task in TASKS else ""
    log.info(f"use it with: python main.py {config}--config.data.path={directory} --config.data.level=train")


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("task", None, f"{', '.join(TASKS)}, or a name of your own", required=True)
    flags.DEFINE_string("level", None, "what the log is, such as expert", required=True)
    flags.DEFINE_integer("bins", None, "choices of every slot", lower_bound=1)
    flags.DEFINE_list("cardinalities", [], "choices of each slot, such as 3,3,7, for a task of your own")
    flags.DEFINE_string("data_dir", "~/tensorflow_datasets", "where TFDS data sets are kept")
    flags.DEFINE_string("name", None, "name of the data set; default <task>-<bins>bins-<level>")
    app.run(main)
