"""Reads a Minari data set from disk, in any of its layouts (hdf5, arrow, parquet); Minari itself is not needed.

Layout: data/metadata.json with the spaces as JSON in text; episodes in data/main_data.hdf5 as groups episode_0, …, or
as directories data/0, …; an episode has T + 1 observations and T of everything else (Arrow and Parquet: T + 1 rows, of
which the last has only its observation). The info `propensity` of an episode, [T + 1] as infos are, is read, too.
"""

import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from spin_jax.errors import DataError
from spin_jax.logs.arrow import as_table
from spin_jax.record.progress import watched

NAMES = ("observations", "actions", "rewards", "terminations", "truncations")
Choices = tuple[tuple[Any, ...], ...]


def minari_directory(path: pathlib.Path) -> pathlib.Path | None:
    """The directory `data` of the Minari data set in `path`, which may be that directory itself; None if it is none."""
    for data in (path / "data", path):
        metadata = data / "metadata.json"
        if metadata.is_file() and "data_format" in metadata.read_text(errors="replace"):
            return data
    return None


def minari_table(data: pathlib.Path) -> tuple[pa.Table, Choices | None]:
    """The transitions as a table with our names of columns, and the choices of each slot if the data set says them.

    Raises DataError if spaces or arrays are of a form that is not supported, or cannot be read.
    """
    try:
        metadata = json.loads((data / "metadata.json").read_text())
        spaces = {
            name: json.loads(metadata[f"{name}_space"])
            for name in ("observation", "action")
            if f"{name}_space" in metadata
        }
        layout = metadata["data_format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{data / 'metadata.json'} cannot be read ({error!r}).") from error
    _check_observations(spaces.get("observation"), data)
    choices = _choices(spaces.get("action"), data)
    if layout not in ("hdf5", "arrow", "parquet"):
        raise DataError(f"{data}: its data_format {layout!r} is unknown; hdf5, arrow and parquet can be read.")
    parts: list[dict[str, np.ndarray]] = []
    try:
        for number, episode in enumerate(_hdf5(data) if layout == "hdf5" else _arrow(data, layout)):
            parts.append(_transitions(episode, number, data))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{data} cannot be read as a Minari data set ({error}).") from error
    if not parts:
        raise DataError(f"{data} holds no episodes.")
    odd = next((number for number, part in enumerate(parts) if part.keys() != parts[0].keys()), None)
    if odd is not None:
        raise DataError(
            f"{data}: of episodes 0 and {odd} only one has propensities in its infos. Record all of them, or none."
        )
    return as_table({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, data), choices


def _check_observations(space: dict | None, data: pathlib.Path) -> None:
    kind, shape = (space or {}).get("type", "Box"), (space or {}).get("shape", [1])
    if kind not in ("Box", "MultiDiscrete", "MultiBinary", "Discrete") or len(shape) != 1:
        found = kind if kind != "Box" else f"Box of shape {shape}"
        raise DataError(
            f"{data}: its observations are {found}; only one vector can be read. Flatten them (gymnasium's "
            f"FlattenObservation) and record the data set anew, or write a table."
        )


def _choices(space: dict | None, data: pathlib.Path) -> Choices | None:
    """The choices of each slot of an action space; None if the data set does not say its space."""
    if space is None:
        return None
    if space.get("type") == "MultiDiscrete" and np.ndim(space["nvec"]) == 1:
        starts = space.get("start") or [0] * len(space["nvec"])
        return tuple(tuple(range(start, start + n)) for n, start in zip(space["nvec"], starts, strict=True))
    if space.get("type") == "Discrete":
        return (tuple(range(space.get("start", 0), space.get("start", 0) + space["n"])),)
    if space.get("type") == "MultiBinary" and np.ndim(space["n"]) == 0:
        return ((0, 1),) * int(space["n"])
    raise DataError(
        f"{data}: its actions are {space.get('type')}; only MultiDiscrete, Discrete and MultiBinary are combinations "
        "of discrete choices. Cut continuous actions into steps first."
    )


def _hdf5(data: pathlib.Path):
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{data}: reading a Minari data set in hdf5 needs h5py: pip install h5py") from error
    with h5py.File(data / "main_data.hdf5", "r") as file:
        names = sorted((name for name in file if name.startswith("episode_")), key=lambda name: int(name.split("_")[1]))
        for name in watched(names, "import: reading", "episode"):
            group = file[name]
            nested = [key for key in NAMES if isinstance(group[key], h5py.Group)]
            if nested:
                raise DataError(f"{data}: {nested[0]} of {name} have several parts; only one array can be read.")
            infos = group.get("infos", {})
            chosen = {"propensity": infos["propensity"][1:]} if "propensity" in infos else {}
            yield {key: group[key][()] for key in NAMES} | chosen


def _arrow(data: pathlib.Path, layout: str):
    folders = sorted((path for path in data.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    for folder in watched(folders, "import: reading", "episode"):
        tables = []
        for path in sorted(folder.glob(f"*.{layout}")):
            if layout == "parquet":
                parquet = pa.parquet.ParquetFile(path)
                tables.append(parquet.read(columns=_wanted(parquet.schema_arrow)))
            else:
                with pa.memory_map(str(path)) as file:
                    whole = pa.ipc.open_file(file).read_all()
                    tables.append(whole.select(_wanted(whole.schema)))
        table = pa.concat_tables(tables)
        arrays = {name: _array(table.column(name).combine_chunks(), name, folder) for name in NAMES}
        steps = {name: values if name == "observations" else values[:-1] for name, values in arrays.items()}
        infos = table.column("infos").combine_chunks() if "infos" in table.column_names else None
        if infos is not None and infos.type.get_field_index("propensity") >= 0:
            steps["propensity"] = _array(infos.field("propensity"), "propensity", folder)[1:]
        yield steps


def _wanted(schema: pa.Schema) -> list[str]:
    return [*NAMES, *(["infos"] if "infos" in schema.names else [])]


def _array(column: pa.Array, name: str, folder: pathlib.Path) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    if pa.types.is_nested(column.type):
        raise DataError(f"{folder}: {name} have several parts ({column.type}); only one array can be read.")
    return column.to_numpy(zero_copy_only=False)


def _transitions(episode: dict[str, np.ndarray], number: int, data: pathlib.Path) -> dict[str, np.ndarray]:
    steps = len(episode["rewards"])
    lengths = {name: len(values) - (name == "observations") for name, values in episode.items()}
    wrong = [name for name in NAMES if lengths[name] != steps]
    if wrong:
        raise DataError(
            f"{data}: episode {number} has {steps} rewards, but {len(episode[wrong[0]])} {wrong[0]}; T steps need T + "
            "1 observations and T of everything else. Record that episode anew, or leave it out."
        )
    observation = episode["observations"].reshape(steps + 1, -1)
    return {
        "observation": observation[:-1],
        "action": episode["actions"],
        "reward": episode["rewards"],
        "terminal": episode["terminations"],
        "timeout": episode["truncations"],
        "episode": np.full(steps, number),
        "next_observation": observation[1:],
        **({"propensity": episode["propensity"]} if "propensity" in episode else {}),
    }
