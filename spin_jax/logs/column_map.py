"""What the columns of a table mean: as config.data.columns says or, where it says nothing, by their usual names."""

import csv
import dataclasses
import difflib
import re
from typing import NamedTuple

import pyarrow as pa

from spin_jax.errors import DataError
from spin_jax.fields import Section
from spin_jax.logs.arrow import among_numbers, described, is_list, is_number, type_name

OPTION = "config.data.columns."
NONE = "none"  # the log has no such column, even if the usual name occurs
EACH_ROW = "each_row"  # as `episode`: every row is an episode of one step


@dataclasses.dataclass(frozen=True)
class ColumnConfig(Section, where="config.data.columns."):
    """The section config.data.columns: names of columns; "" = by their usual names, "none" = the log has none.

    Several names are separated by commas; one that has commas or quotes itself stands in quotes, as in CSV. A name with
    '*' at its end stands for all columns that begin so, in the order of the table. A vector is one column of lists or
    several columns of single values.
    """

    observation: str = ""
    action: str = ""
    reward: str = ""
    episode: str = ""  # tells the rows of an episode from others; "each_row" = every row is an episode of its own
    step: str = ""  # orders the rows of an episode
    terminal: str = ""
    timeout: str = ""
    propensity: str = ""  # the probability with which the logging policy chose the row's action, in (0, 1]
    next_observation: str = ""
    categorical: str = ""  # columns (or items, such as observation[3]) of the observation that become one-hot
    choices: str = ""  # path of a JSON file {slot: [choice, …] or their number}; other slots: the choices that occur


BY_USUAL_NAMES = ColumnConfig()


class ColumnMap(NamedTuple):
    """The columns of a table by their meaning; None or () = the table has none."""

    observation: tuple[str, ...]
    action: tuple[str, ...]
    reward: str
    episode: str | None
    step: str | None
    terminal: str | None
    timeout: str | None
    propensity: str | None
    next_observation: tuple[str, ...]
    categorical: tuple[str, ...]
    left_over: bool  # the observation is what was left over
    not_read: dict[str, str]  # the other columns, and why each is not read

    @property
    def terminal_is_done(self) -> bool:
        """Whether the column `terminal` may also mark time limits, by its name."""
        return self.terminal is not None and self.terminal.strip().lower() in DONE


USUAL = {
    "observation": ("observation", "observations", "obs", "state", "states", "features"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards"),
    "episode": ("episode", "episode_id", "eps_id", "trajectory", "trajectory_id"),
    "step": ("step", "t", "timestep", "time_step"),
    "terminal": ("terminal", "terminals", "terminated", "terminateds", "termination", "terminations", "done", "dones"),
    "timeout": ("timeout", "timeouts", "truncated", "truncateds", "truncation", "truncations"),
    "propensity": ("propensity", "action_prob", "action_probability", "behavior_prob", "behaviour_prob", "pscore"),
    "next_observation": ("next_observation", "next_observations", "next_obs", "new_obs", "next_state", "next_states"),
}
DONE = ("done", "dones")  # an end of either kind: with a column of time limits, the others are terminations
SLOT_PREFIXES = ("action_", "slot_")
# never features by themselves: they know the action or what follows, or only number the rows
NEVER = {
    **dict.fromkeys(("action_logp", "action_logprob", "action_dist_inputs", "logp"), "knows the action"),
    **dict.fromkeys(("return", "returns", "return_to_go", "returns_to_go", "rtg"), "knows later rewards"),
    **dict.fromkeys(("", "index", "id", "unnamed: 0"), "numbers the rows"),
}


def map_columns(table: pa.Table, config: ColumnConfig, where: object) -> ColumnMap:
    """The meaning of the columns of `table`; raises DataError, which names the column and the option that mends it."""
    schema = table.schema
    names = list(schema.names)
    found: dict[str, tuple[str, ...]] = {}
    for role in USUAL:
        asked = getattr(config, role)
        if role == "episode" and asked == EACH_ROW and EACH_ROW not in names:
            found[role] = (EACH_ROW,)
        elif asked:
            found[role] = select(asked, names, role, where)
        elif role in ("terminal", "timeout") and found["episode"] == (EACH_ROW,):
            found[role] = ()  # each row is an episode, whatever a column of that name says
        else:
            found[role] = _by_usual_name(role, schema, where)
        if role not in ("observation", "action", "next_observation") and len(found[role]) > 1:
            raise DataError(f"{where}: {OPTION}{role}={asked} names {len(found[role])} columns; it must be one.")
    categorical = select(config.categorical, names, "categorical", where, items=True) if config.categorical else ()
    _need(found["reward"], "reward", names, where)
    _need(found["action"], "action", names, where)
    free = _free_columns(table, found)
    left_over = not found["observation"]
    if left_over:
        readable = {name for name, why in free.items() if not why} | {name for name in categorical if name in free}
        found["observation"] = tuple(name for name in names if name in readable)
        _need(found["observation"], "observation", [f"{name} ({why})" for name, why in free.items()] or names, where)
    if not found["next_observation"] and config.next_observation != NONE:
        following = tuple(f"next_{name}" for name in found["observation"])
        found["next_observation"] = following if set(following) <= set(names) else ()
    _check_overlap(found, where)
    used = {name for role in found.values() for name in role}
    other = f"the observation is {_listed(list(found['observation']), 3)}"
    return ColumnMap(
        observation=found["observation"],
        action=found["action"],
        reward=found["reward"][0],
        **{role: (*found[role], None)[0] for role in ("episode", "step", "terminal", "timeout", "propensity")},
        next_observation=found["next_observation"],
        categorical=categorical,
        left_over=left_over,
        not_read={name: free.get(name) or other for name in names if name not in used},
    )


def select(asked: str, names: list[str], role: str, where: object, items: bool = False) -> tuple[str, ...]:
    """The columns that an option names; items: also `column[3]`. Raises DataError on unknown ones and repetitions."""
    if asked.strip() == NONE:
        return ()
    chosen: list[str] = []
    for part in [asked] if asked in names else next(csv.reader([asked], skipinitialspace=True)):
        name = part if part in names else part.strip()
        if name.endswith("*") and name not in names:
            match = [known for known in names if known.startswith(name[:-1])]
        else:
            match = [name] if (re.sub(r"\[\d+\]$", "", name) if items else name) in names else []
        if not match:
            near = difflib.get_close_matches(name, names, 1)
            raise DataError(
                f"{where}: {OPTION}{role}={asked} names {name!r}, and no column is called so. "
                + (f"Did you mean {near[0]!r}? " if near else "")
                + f"The columns are {_listed(names)}."
            )
        if name in chosen:
            raise DataError(f"{where}: {OPTION}{role}={asked} names {name!r} twice.")
        chosen += [known for known in match if known not in chosen]
    return tuple(chosen)


def _by_usual_name(role: str, schema: pa.Schema, where: object) -> tuple[str, ...]:
    """The column with the first of the usual names of a role, whatever its case; slots may be several columns."""
    lower = {name.strip().lower(): name for name in reversed(schema.names)}
    for usual in USUAL[role]:
        if usual in lower and (role != "observation" or is_list(schema.field(lower[usual]).type)):
            return (lower[usual],)
    if role != "action":
        return ()
    known = {alias for aliases in USUAL.values() for alias in aliases} | set(NEVER)
    groups = {
        prefix: tuple(name for low, name in reversed(lower.items()) if low.startswith(prefix) and low not in known)
        for prefix in SLOT_PREFIXES
    }
    if all(groups.values()):
        both = " and ".join(group[0] for group in groups.values())
        raise DataError(f"{where}: {both} both look like slots of the action. Say which: {OPTION}action={both[:7]}*")
    return next(filter(None, groups.values()), ())


def _free_columns(table: pa.Table, found: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Columns that no role has taken: the reason why one cannot be a feature by itself, or "" if it can."""
    used = {name for role in found.values() for name in role}
    roles = {alias: role for role, aliases in USUAL.items() if role != "observation" for alias in aliases}
    free = {}
    for field in table.schema:
        low = field.name.strip().lower()
        if field.name in used:
            continue
        if low in roles:
            why = f"the usual name of a {roles[low]}"
        elif low in NEVER or low.startswith("__index_level_"):
            why = NEVER.get(low, "numbers the rows")
        elif low.endswith("_id"):
            why = "an id"
        elif low.startswith(SLOT_PREFIXES):
            why = "looks like a part of the action"
        elif low.startswith("next_") and field.name[5:] in table.column_names:
            why = "knows what follows"
        else:
            value = field.type.value_type if is_list(field.type) else field.type
            why = "" if is_number(value) else f"holds {type_name(field.type)}"
            if among_numbers(table.column(field.name)):
                why = f"holds {described(table.column(field.name))} among numbers"
        free[field.name] = why
    return free


def _need(chosen: tuple[str, ...], role: str, names: list[str], where: object) -> None:
    if chosen:
        return
    usual = ", ".join(USUAL[role])
    more = {
        "action": "; slots in columns of their own: action_… or slot_…",
        "observation": " (one column of lists); otherwise every column of numbers that has no other meaning is read",
    }.get(role, "")
    advice = ""
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        advice = " It has a single column with separators in its name: write the file with commas between the columns."
    raise DataError(
        f"{where} has no {role}. Usual names are {usual}{more}. Name yours: {OPTION}{role}=NAME. "
        f"The columns are {_listed(names)}.{advice}"
    )


def _check_overlap(found: dict[str, tuple[str, ...]], where: object) -> None:
    """Only an episode's id or step may be a feature as well."""
    taken: dict[str, str] = {}
    for role, chosen in found.items():
        for name in chosen:
            if name in taken and {role, taken[name]} not in ({"observation", "step"}, {"observation", "episode"}):
                raise DataError(
                    f"{where}: column {name} is taken both for {taken[name]} and for {role}. "
                    f"Say what it is: {OPTION}{taken[name]}=… or {OPTION}{role}=…, '{NONE}' for what the log lacks."
                )
            taken.setdefault(name, role)


def _listed(names: list[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
