"""Checks a resolved ConfigDict and turns each of its sections into a frozen dataclass before anything runs."""

import dataclasses
import difflib
import operator
from collections.abc import Iterable, Sequence

from ml_collections import ConfigDict

from spin_jax.config.sections import (
    MazeConfig,
    RunConfig,
    StructuredConfig,
)
from spin_jax.data.dataset import split_expression
from spin_jax.envs.structured_names import knobs_of
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import ConfigError
from spin_jax.registry import ENVS, LEARNERS, LOG, POLICIES
from spin_jax.types import ActionSpec

CHOSEN = ("policy_config", "learner_config")  # fields of RunConfig that are sections of other names


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """' Did you mean …?' with the closest known name or, if none is close, all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."


def check_task(task: object) -> None:
    """Raises ConfigError if there is no task of this name."""
    if str(task).startswith("structured_"):
        knobs_of(str(task))  # says what is wrong with a knob
    if task != LOG and task not in ENVS:
        raise ConfigError(f"config.task is {task!r}.{did_you_mean(task, (*ENVS, LOG))}")


def sections() -> dict[str, type]:
    """{name: dataclass} of every section of a configuration, those of all policies and learners included."""
    fixed = {f.name: f.type for f in dataclasses.fields(RunConfig) if f.name not in CHOSEN}
    named = {name: kind for name, kind in fixed.items() if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    named |= {policy.section: policy.config for policy in POLICIES.values()}
    return named | {learner.section: learner.config for learner in LEARNERS.values()}


def build(config: ConfigDict) -> RunConfig:
    """Checks and freezes a resolved configuration; raises ConfigError with the wrong field and what it accepts.

    What a field may hold stands where the field is declared (spin_jax.fields).
    """
    names = [field.name for field in dataclasses.fields(RunConfig) if field.name not in CHOSEN]
    for name in names:
        if name not in config:
            raise ConfigError(f"config.{name} is missing; configs/base.py has all fields.")
    for size, kind in (("maze", MazeConfig), ("structured", StructuredConfig)):
        _section(config, size, kind)  # first: a wrong size makes a wrong name of a task
    check_task(config.task)
    for field, table in (("policy", POLICIES), ("learner", LEARNERS)):
        if config[field] not in table:
            raise ConfigError(f"config.{field} is {config[field]!r}.{did_you_mean(config[field], table)}")
    try:
        built = {name: _section(config, name, kind) for name, kind in sections().items()}  # also those of others
        run = RunConfig(
            policy_config=built[POLICIES[config.policy].section],
            learner_config=built[LEARNERS[config.learner].section],
            **{name: built[name] if name in built else config[name] for name in names},
        )
        if run.simulated and not run.data.path:
            split_expression(run.data.level, run.data.episodes, TASKS[run.task].levels)
        _check_together(run)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return run


def has_stage(policy: str, stage: str) -> bool:
    """Whether a policy has a stage: 'pretrain' if it reads an ASM, 'distill' if it has a student, the others always."""
    entry = POLICIES[policy]
    return {"pretrain": entry.reads_asm, "distill": entry.distiller is not None}.get(stage, True)


def stages_of(run: RunConfig, stages: Sequence[str]) -> list[str]:
    """Those of `stages` that the run has: without a simulator, ope stands in for evaluate.

    Of several stages, pretrain is left out where asm.path names the ASM, and ope where the log is a stream. Raises
    ConfigError if the only stage that is asked for is one that the run does not have.
    """
    if len(stages) == 1 and not has_stage(run.policy, stages[0]):
        having = ", ".join(name for name in POLICIES if has_stage(name, stages[0]))
        raise ConfigError(f"--stage={stages[0]}: policy {run.policy} has no such stage. Policies that have: {having}.")
    if stages == ("evaluate",) and not run.simulated:
        raise ConfigError(f"--stage=evaluate: {run.task} has no simulator. --stage=ope judges the policy from the log.")
    if "ope" in stages and run.data.mode == "stream":
        raise ConfigError("--stage=ope reads the whole log at once: it needs config.data.mode=memory.")
    given = {"pretrain"} if run.asm.path and len(stages) > 1 else set()
    given |= {"evaluate"} if run.data.mode == "stream" and not run.simulated else set()
    return [
        "ope" if name == "evaluate" and not run.simulated else name
        for name in stages
        if has_stage(run.policy, name) and name not in given
    ]


def _section(config: ConfigDict, name: str, kind: type):
    """The section as a dataclass; a field with the metadata `from` takes its value from that field of another section.

    So one field of the configuration, such as train.always_dropout, reaches several dataclasses. A field that is a
    dataclass is a section inside of the section.
    """
    try:
        values = dict(operator.attrgetter(name)(config))
    except AttributeError as error:
        raise ConfigError(f"config.{name} is missing; it must hold the fields of {kind.__name__}.") from error
    fields = {field.name for field in dataclasses.fields(kind) if "from" not in field.metadata}
    for unknown in sorted(values.keys() - fields):
        raise ConfigError(f"config.{name}.{unknown} is not a field.{did_you_mean(unknown, fields)}")
    for missing in sorted(fields - values.keys()):
        raise ConfigError(f"config.{name}.{missing} is missing.")
    for field in dataclasses.fields(kind):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            values[field.name] = _section(config, f"{name}.{field.name}", field.type)
    elsewhere = {f.name: f.metadata["from"] for f in dataclasses.fields(kind) if "from" in f.metadata}
    return kind(**values, **{name: operator.attrgetter(path)(config) for name, path in elsewhere.items()})


def _check_together(run: RunConfig):
    """Refuses settings that do not go together, before anything is read or trained.

    The policy and the learner are made for this, which costs nothing: only functions are made.
    """
    spec = ActionSpec((max(run.bins, 2),))
    policy = POLICIES[run.policy].make(spec, run.asm.model, run.policy_config)
    LEARNERS[run.learner].make(policy, spec, run.learner_config)
    if policy.encode is not None and run.data.mode == "stream":
        raise ConfigError(
            f"policy {run.policy} keeps what it reads of the whole log on the device: it needs data.mode='memory'."
        )
    if policy.encode is not None and run.asm.per_seed:
        raise ConfigError(f"policy {run.policy} keeps what one ASM reads of the log: it needs asm.per_seed=False.")
    for name, share in (("asm", run.asm.top_fraction), (run.learner, run.learner_config.best_share)):
        if share < 1 and run.data.mode == "stream":
            raise ConfigError(f"A stream reads every episode: {name}.top_fraction < 1 needs data.mode='memory'.")
    if run.num_seeds > 1 and run.data.mode == "stream":
        raise ConfigError("A stream comes in one seed's order: num_seeds > 1 needs data.mode='memory'.")
    if run.asm.per_seed and run.asm.path:
        raise ConfigError("asm.per_seed trains an ASM for each seed, asm.path names one: use one of the two.")
    if run.asm.body_path and run.asm.path:
        raise ConfigError("asm.body_path is where a new ASM starts, asm.path names a trained one: use one of the two.")
