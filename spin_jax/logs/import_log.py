"""Imports logs: `python -m spin_jax.logs.import_log PATH`, any table; main.py does the same with config.data.path=PATH.

Options --columns.NAME=… say what columns mean (column_map.ColumnConfig). With --task, --bins and --level, several files
of a task that the package knows, such as the published suite's pickles (`<bins>_bins/<domain>-<task>-<level>`), become
one data set that is checked against the task; an episode never continues from one file into the next.
"""

import dataclasses
import pathlib
import re

from absl import flags

from spin_jax import command
from spin_jax.envs.tasks import TASKS, flags_of
from spin_jax.errors import DataError
from spin_jax.logs.column_map import BY_USUAL_NAMES, ColumnConfig
from spin_jax.logs.data_set import data_set_directory
from spin_jax.logs.import_table import import_table, store
from spin_jax.logs.read_log import read_log
from spin_jax.logs.sources import checksum, read_files
from spin_jax.record.progress import log, setup_logging


def import_log(
    files: list[pathlib.Path],
    data_dir: pathlib.Path,
    task: str,
    level: str,
    bins: int | None,
    columns: ColumnConfig = BY_USUAL_NAMES,
    name: str | None = None,
) -> pathlib.Path:
    """Writes the data set of `files`, a log of `task`, and returns its directory; all is checked before it is written.

    `done` in the suite's files becomes a terminal; config.data.done says whether that is what it means. Raises
    DataError on bad files and settings, on widths and choices that do not fit the task, and if a data set of that name
    exists; that one is not changed.
    """
    name = name or "-".join([task, *([f"{bins}bins"] if bins else []), level])
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"--name={name} must consist of letters, digits, '_', '-' and '.'.")
    directory = data_set_directory(data_dir, name)
    if directory.parent.exists():
        raise DataError(
            f"{directory.parent} is there already and stays as it is. Choose another --name, or move it away."
        )
    if not files:
        raise DataError("No file to import was named.")
    if task not in TASKS:
        raise DataError(f"--task={task} is unknown; tasks are {', '.join(TASKS)}. A table of your own needs no --task.")
    if not bins and isinstance(TASKS[task].slots, int):
        raise DataError(f"{task} has the same choices in every slot: give --bins.")
    spec, num_features = TASKS[task].spec(bins or 0), TASKS[task].num_features
    where = files[0] if len(files) == 1 else ", ".join(path.name for path in files)
    source = read_files(files, (num_features, spec.num_slots))
    source = source._replace(choices=tuple(tuple(range(k)) for k in spec.cardinalities))
    found = read_log(source, columns, where, across_files=False)
    if found.spaces.num_features != num_features:
        raise DataError(f"{where}: observation has width {found.spaces.num_features}, needed {num_features}.")
    records = [
        record | {"sha256": checksum([path], path.parent)}
        for record, path in zip(found.made_by["files"], files, strict=True)
    ]
    origin = {"task": task, "bins": bins, "level": level}
    return store(name, found._replace(made_by=found.made_by | {"files": records}), data_dir, origin)


def main(arguments: list[str]) -> None:
    setup_logging()
    paths = [pathlib.Path(path) for path in arguments]
    data_dir = pathlib.Path(FLAGS.data_dir).expanduser().absolute()
    named: dict[str, str] = {
        field.name: str(FLAGS[f"columns.{field.name}"].value) for field in dataclasses.fields(ColumnConfig)
    }
    columns = ColumnConfig(**named)
    if FLAGS.task:
        task = FLAGS.task.replace("-", "_")  # cheetah-run in the suite's names
        directory = import_log(paths, data_dir, task, FLAGS.level, FLAGS.bins, columns, FLAGS.name)
        bins = f"--config.bins={FLAGS.bins} " if FLAGS.bins else ""
        use = f"{flags_of(task)} {bins}--config.data.path={directory}"
        log.info(f"use it with: python main.py {use} --config.data.level=train")
        return
    if len(paths) != 1:
        raise DataError("Name one file or directory; several files of a known task need --task, --bins and --level.")
    import_table(paths[0], columns, data_dir)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("task", None, f"a task that the package knows: {', '.join(TASKS)}")
    flags.DEFINE_string("level", "log", "with --task: what the log is, such as expert")
    flags.DEFINE_integer("bins", None, "with --task: choices of every slot", lower_bound=2, upper_bound=256)
    flags.DEFINE_string("data_dir", "~/tensorflow_datasets", "where TFDS data sets are kept")
    flags.DEFINE_string("name", None, "with --task: name of the data set; default <task>-<bins>bins-<level>")
    for option in dataclasses.fields(ColumnConfig):
        flags.DEFINE_string(f"columns.{option.name}", "", f"config.data.columns.{option.name}")
    command.run(main, takes="the files to import")
