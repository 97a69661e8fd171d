"""One page for people: what was understood of a table, and which option changes it."""

import numpy as np

from spin_jax.data.dataset import LEAST_STD
from spin_jax.logs.column_map import EACH_ROW, OPTION, ColumnMap
from spin_jax.logs.sources import Source
from spin_jax.types import Episode, Spaces

CUT = "where the next observation is not the next row's (taken for time limits)"
LISTED = 20  # choices of a slot or names of features that are listed one by one


def page(
    where: object,
    source: Source,
    columns: ColumnMap,
    spaces: Spaces,
    episodes: list[Episode],
    ends: dict[str, int],
    small: tuple[str, ...] = (),
) -> str:
    """The page: columns, slots and their choices, episodes and their ends, rewards, and notes; plain lines of text.

    small: features whose standard deviation is too small to be scaled.
    """
    table = source.table
    files = f"{len(source.files)} files, " if len(source.files) > 1 else ""
    lines = [
        f"What was understood of {where} ({source.format}, {files}{table.num_rows} rows, {table.num_columns} columns):"
    ]
    told: list[tuple[str, str]] = [("observation", _observation(columns, spaces))]
    if columns.next_observation:
        told.append(("next observation", short(columns.next_observation)))
    told.append(("action", f"{short(columns.action)}: {len(spaces.slots)} slots, {_joint(spaces)}"))
    told += [(f"  {slot}", _choices(names)) for slot, names in zip(spaces.slots, spaces.choices, strict=True)]
    told += [("reward", _reward(columns, episodes)), ("episodes", _episodes(columns, episodes))]
    told.append(("ends", _ends(columns, ends)))
    if columns.propensity:
        lowest = min(e.propensity.min() for e in episodes if e.propensity is not None)
        told.append(("propensity", f"{columns.propensity}, at least {lowest:.4g}"))
    if columns.not_read:
        told.append(("not read", "; ".join(f"{names} ({why})" for names, why in _grouped(columns))))
    told += [("note", note) for note in (*_notes(columns, spaces, ends), *_small(small))]
    width = min(24, max(len(name) for name, _ in told))
    return "\n".join([*lines, *(f"  {name.ljust(width)}  {text}" for name, text in told)])


def short(names: tuple, most: int = LISTED) -> str:
    """Names in a row; of many, the first ones and the last."""
    shown = [str(name) for name in names]
    if len(shown) > most:
        shown = [*shown[: most // 2], "…", shown[-1]]
    return ", ".join(shown)


def _observation(columns: ColumnMap, spaces: Spaces) -> str:
    why = f" (all numbers left over; other ones: {OPTION}observation=…)" if columns.left_over else ""
    wide = f" = {spaces.num_features} features" if spaces.num_features != len(columns.observation) else ""
    hot = f"; one-hot: {short(columns.categorical)}" if columns.categorical else ""
    return f"{short(columns.observation)}{wide}{hot}{why}"


def _joint(spaces: Spaces) -> str:
    total = float(np.prod([float(len(names)) for names in spaces.choices]))
    return f"{total:.0f} joint actions" if total < 1e6 else f"{total:.1e} joint actions"


def _choices(names: tuple) -> str:
    if len(names) > 2 and isinstance(names[0], int) and names == tuple(range(names[0], names[0] + len(names))):
        return f"{len(names)} choices: {names[0]} to {names[-1]}"
    return f"{len(names)} choice{'s' * (len(names) != 1)}: {short(names)}"


def _reward(columns: ColumnMap, episodes: list[Episode]) -> str:
    reward = np.concatenate([e.reward for e in episodes])
    zero = f", 0 in {np.mean(reward == 0):.0%} of the rows" if (reward == 0).any() else ""
    return f"{columns.reward}, {reward.min():.4g} to {reward.max():.4g}, mean {reward.mean(dtype=np.float64):.4g}{zero}"


def _episodes(columns: ColumnMap, episodes: list[Episode]) -> str:
    lengths = np.array([len(e.reward) for e in episodes])
    by = {None: "cut at the end flags and where observations do not continue", EACH_ROW: "every row is one"}
    how = by.get(
        columns.episode,
        f"by {columns.episode}, " + (f"ordered by {columns.step}" if columns.step else "as in the file"),
    )
    return f"{len(episodes)} of {lengths.min()} to {lengths.max()} steps (mean {lengths.mean():.1f}); {how}"


def _ends(columns: ColumnMap, ends: dict[str, int]) -> str:
    if columns.terminal is None and columns.timeout is None and columns.episode:
        jumps = ends["not_continuous"]
        return (
            f"no column says how episodes end: each end is taken for a termination, with no value behind it "
            f"(if time limits ended them, add a column that is 1 in their last rows: {OPTION}timeout=NAME)"
        ) + (f", but for {jumps} {CUT}; if these are none: {OPTION}next_observation=none" if jumps else "")
    flags = " and ".join(name for name in (columns.terminal, columns.timeout) if name) or "no flags"
    words = {
        "terminal": "terminations",
        "timeout": "time limits",
        "not_continuous": CUT,
        "no_flag": "at last rows without a flag (taken for time limits)",
    }
    return f"{flags}: " + ", ".join(f"{ends[key]} {text}" for key, text in words.items() if ends[key])


def _grouped(columns: ColumnMap) -> list[tuple[str, str]]:
    """Columns that were not read, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, why in columns.not_read.items():
        reasons.setdefault(why, []).append(name or "a column without a name")
    return [(short(tuple(names)), why) for why, names in reasons.items()]


def _notes(columns: ColumnMap, spaces: Spaces, ends: dict[str, int]) -> list[str]:
    notes = []
    for slot, names in zip(spaces.slots, spaces.choices, strict=True):
        if len(names) == 1:
            notes.append(
                f"slot {slot} has a single choice, {names[0]!r}: nothing can be learnt for it; it may be left out"
            )
    if columns.step and not columns.episode:
        notes.append(f"{columns.step} orders nothing, since no column is named as {OPTION}episode")
    if columns.terminal_is_done:
        notes.append(
            f"{columns.terminal} is taken for terminations"
            + (f", except where {columns.timeout} is set" if columns.timeout else "")
            + f"; if it marks time limits: {OPTION}terminal=none and {OPTION}timeout={columns.terminal}"
        )
    if ends["dropped_transitions"]:
        notes.append(
            f"{ends['dropped_transitions']} transitions are left out: the last ones of episodes that did not "
            "terminate, as their next observations are not known"
        )
    return notes


def _small(features: tuple[str, ...]) -> list[str]:
    if not features:
        return []
    return [
        f"the standard deviation of {short(features)} is below {LEAST_STD:g}: normalisation leaves such values as they "
        "are, and networks hardly see them; give them in a smaller unit"
    ]
