"""Checkpoints and artefacts as Orbax directories; array names, shapes and dtypes are compared before loading.

Arrays are stored flat, under names like `params/body/block_0/query/kernel`, with a JSON record beside them.
"""

import errno
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from orbax.checkpoint import checkpoint_managers as managers

from spin_jax.errors import CheckpointError


def flatten(tree: Any) -> dict[str, jax.Array]:
    """Leaves of a tree by their slash-joined path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of named arrays, sorted by name."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode())
        found.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)  # copies nothing
    return found.hexdigest()


ZARR = "/.zarray"  # ends the names of the arrays' descriptions
ROOM = 1 << 20  # bytes of a checkpoint beside its arrays
MADE_ANEW = "or delete that directory: the same command without --stage trains anew what is missing then"


def _digest_of_record(record: dict) -> str:
    """SHA-256 of a record."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _read_all(directory: pathlib.Path) -> None:
    """Reads every array of Orbax's format (zarr in OCDBT), one after another; raises ValueError if one is damaged.

    Orbax reads arrays side by side and gives up at the first damaged one; the others then complain to an event loop
    that is gone, with a traceback for each. So it is given no damaged files.
    """
    files = {"driver": "ocdbt", "base": f"file://{directory}/"}
    names = [key.decode() for key in tensorstore.KvStore.open(files).result().list().result()]
    if not names:  # what TensorStore finds where no manifest is
        raise ValueError("it holds no arrays")
    for name in names:
        if name.endswith(ZARR):
            array = {"driver": "zarr", "kvstore": files | {"path": name.removesuffix(ZARR)}}
            tensorstore.open(array, open=True).result().read().result()


class CheckpointStore:
    """Numbered checkpoints (arrays + JSON record) in `directory`; a save is atomic, so a killed one leaves no trace.

    keep: number of latest checkpoints to keep; None keeps all. way_out: what errors advise where a checkpoint is
    damaged, after "restore it from a copy". Nothing is created on disk before the first save.
    """

    def __init__(self, directory: str | pathlib.Path, keep: int | None = 1, way_out: str = MADE_ANEW):
        self.directory = pathlib.Path(directory).absolute()
        self._keep, self._way_out = keep, way_out
        self._reader = self._writer = None

    def _manager(self, write: bool = False) -> ocp.CheckpointManager:
        """Orbax's manager, read-only until the first save: reading never changes a directory."""
        if write and self._writer is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._writer = self._make(
                create=False,
                preservation_policy=managers.LatestN(self._keep or 10**9),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=False,
            )
        if self._writer is None and self._reader is None:
            self._reader = self._make(read_only=True)
        return self._writer or self._reader

    def _make(self, **options) -> ocp.CheckpointManager:
        if jax.process_count() > 1:  # each process uses its manager alone, without waiting for the others
            own = jax.process_index()
            options["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
                primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
            )
        handlers = {"arrays": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()}
        return ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(**options), item_handlers=handlers
        )

    def tidy(self) -> None:
        """Removes what a killed process left: checkpoints beyond `keep`, also half-deleted ones, and half a save.

        Only the one writer of the directory may call it, before it reads.
        """
        names = [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []
        steps = sorted((name for name in names if name.isdigit()), key=int)
        old = steps[: -self._keep] if self._keep else []
        for name in [*old, *(name for name in names if ocp.utils.TMP_DIR_SUFFIX in name)]:
            shutil.rmtree(self.directory / name)

    def steps(self) -> list[int]:
        """Saved steps, ascending."""
        return sorted(self._manager().all_steps()) if self.directory.is_dir() else []

    def save(self, step: int, tree: Any, record: dict) -> None:
        """Saves a tree of arrays and a JSON-able record as `step`, replacing a checkpoint of the same step."""
        manager = self._manager(write=True)
        arrays = {name: np.asarray(leaf) for name, leaf in flatten(tree).items()}
        self._check_room(sum(array.nbytes for array in arrays.values()))
        if step in manager.all_steps():
            manager.delete(step)
        record = json.loads(json.dumps(record))  # as it will be read: the checksum covers that
        stored = {"record": record, "sha256": digest(arrays), "record_sha256": _digest_of_record(record)}
        args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(stored))
        manager.save(step, args=args, force=True)
        manager.wait_until_finished()

    def _check_room(self, size: int) -> None:
        """Raises OSError if the disk has no room for a checkpoint of `size` bytes, before anything is begun.

        (Where a disk fills up while Orbax writes, its threads print dozens of tracebacks.)
        """
        if shutil.disk_usage(self.directory).free < 1.1 * size + ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.directory))

    def record(self, step: int | None = None) -> dict:
        """The JSON record of a step (default: the latest); raises CheckpointError if it cannot be read."""
        return self._stored(self._resolve(step))["record"]

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The tree of a step (default: the latest) in the structure, shapes and dtypes of `like`.

        `like` may hold arrays or jax.ShapeDtypeStructs. Raises CheckpointError naming the first difference.
        """
        step = self._resolve(step)
        wanted = flatten(like)
        try:
            _read_all(self._path(step) / "arrays")
            stored = self._manager().item_metadata(step)["arrays"].tree
        except Exception as error:
            raise self._damaged(step, error) from error
        for name in sorted(wanted.keys() | stored.keys()):
            if name not in stored or name not in wanted:
                where = "this run" if name not in stored else "the checkpoint"
                raise CheckpointError(f"{self._path(step)}: array {name!r} exists only in {where}.")
            found, need = stored[name], wanted[name]
            for field in ("shape", "dtype"):
                a, b = getattr(found, field), getattr(need, field)
                if (tuple(a) if field == "shape" else np.dtype(a)) != (tuple(b) if field == "shape" else np.dtype(b)):
                    raise CheckpointError(f"{self._path(step)}: {field} of {name!r} is {a}, this run needs {b}.")
        # numpy arrays (without memory of their own), so that nothing is placed on a device of another process
        target = {name: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape) for name, leaf in wanted.items()}
        arrays = self._restore(step, arrays=ocp.args.StandardRestore(target)).arrays
        if digest(arrays) != self._stored(step)["sha256"]:
            raise self._damaged(step, ValueError("the arrays do not match their SHA-256"))
        return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in wanted])

    def _stored(self, step: int) -> dict:
        stored = self._restore(step, record=ocp.args.JsonRestore()).record
        if not isinstance(stored, dict) or stored.keys() - {"record_sha256"} != {"record", "sha256"}:
            raise self._damaged(step, ValueError("its record is not one of this program's"))
        covered = stored.get("record_sha256")  # None: saved before records had one
        if covered is not None and covered != _digest_of_record(stored["record"]):
            raise self._damaged(step, ValueError("its record does not match its SHA-256"))
        return stored

    def _restore(self, step: int, **items):
        try:
            return self._manager().restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            raise self._damaged(step, error) from error

    def _resolve(self, step: int | None) -> int:
        steps = self.steps()
        if not steps:
            raise CheckpointError(
                f"No checkpoint in {self.directory}: the directory is missing or holds no saved step."
            )
        if step is not None and step not in steps:
            raise CheckpointError(f"{self.directory} holds no step {step}; saved steps: {steps}.")
        return steps[-1] if step is None else step

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / str(step)

    def _damaged(self, step: int, error: Exception) -> CheckpointError:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return CheckpointError(
            f"Checkpoint {self._path(step)} is damaged or incomplete and cannot be read ({first_line[:200]}). "
            f"Restore it from a copy, {self._way_out}."
        )
