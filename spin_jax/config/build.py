"""Checks a resolved ConfigDict and turns each of its sections into a frozen dataclass before anything runs."""

import dataclasses
import difflib
import math
import operator
import re
from collections.abc import Iterable, Sequence

from ml_collections import ConfigDict

from spin_jax.config.sections import (
    ASMSection,
    DataConfig,
    EvalConfig,
    MeshConfig,
    OffPolicyConfig,
    RunConfig,
    TrainConfig,
)
from spin_jax.data.dataset import split_expression
from spin_jax.envs.tasks import TASKS
from spin_jax.errors import ConfigError
from spin_jax.registry import ENVS, LEARNERS, LOG, POLICIES
from spin_jax.types import ActionSpec

PRECISIONS = ("float32", "bfloat16")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with the closest known name or, if none is close, all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."


def build(config: ConfigDict) -> RunConfig:
    """Checks and freezes a resolved configuration; raises ConfigError with the wrong field and what it accepts."""
    for field, table in (("task", (*ENVS, LOG)), ("policy", POLICIES), ("learner", LEARNERS)):
        if config[field] not in table:
            raise ConfigError(f"config.{field} is {config[field]!r}.{did_you_mean(config[field], table)}")
    if config.precision not in PRECISIONS:
        raise ConfigError(f"config.precision must be one of auto, {', '.join(PRECISIONS)}, got {config.precision!r}.")
    policy, learner = POLICIES[config.policy], LEARNERS[config.learner]
    try:
        run = RunConfig(
            task=config.task,
            bins=config.bins,
            policy=config.policy,
            learner=config.learner,
            seed=config.seed,
            num_seeds=config.num_seeds,
            seeds_per_batch=config.seeds_per_batch,
            precision=config.precision,
            data=_section(config, "data", DataConfig),
            asm=_section(config, "asm", ASMSection),
            policy_config=_section(config, policy.section, policy.config),
            learner_config=_section(config, learner.section, learner.config),
            train=_section(config, "train", TrainConfig),
            mesh=_section(config, "mesh", MeshConfig),
            eval=_section(config, "eval", EvalConfig),
            ope=_section(config, "ope", OffPolicyConfig),
        )
        if run.simulated and not run.data.path:
            split_expression(run.data.level, run.data.episodes, TASKS[run.task].levels)
        _ = run.asm.masking_config
        _check_together(run)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check_ranges(run)
    return run


def has_stage(policy: str, stage: str) -> bool:
    """Whether a policy has a stage: 'pretrain' if it reads an ASM, 'distill' if it has a student, the others always."""
    entry = POLICIES[policy]
    return {"pretrain": entry.reads_asm, "distill": entry.distiller is not None}.get(stage, True)


def stages_of(run: RunConfig, stages: Sequence[str]) -> list[str]:
    """Those of `stages` that the run has: without a simulator, ope stands in for evaluate.

    Raises ConfigError if the only stage that is asked for is one that the run does not have.
    """
    if len(stages) == 1 and not has_stage(run.policy, stages[0]):
        having = ", ".join(name for name in POLICIES if has_stage(name, stages[0]))
        raise ConfigError(f"--stage={stages[0]}: policy {run.policy} has no such stage. Policies that have: {having}.")
    if stages == ("evaluate",) and not run.simulated:
        raise ConfigError(f"--stage=evaluate: {run.task} has no simulator. --stage=ope judges the policy from the log.")
    return [
        "ope" if name == "evaluate" and not run.simulated else name for name in stages if has_stage(run.policy, name)
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
    fields = {field.name for field in dataclasses.fields(kind) if not field.metadata}
    for unknown in sorted(values.keys() - fields):
        raise ConfigError(f"config.{name}.{unknown} is not a field.{did_you_mean(unknown, fields)}")
    for missing in sorted(fields - values.keys()):
        raise ConfigError(f"config.{name}.{missing} is missing.")
    for field, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(f"config.{name}.{field} is NaN.")
    for field in dataclasses.fields(kind):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            values[field.name] = _section(config, f"{name}.{field.name}", field.type)
    elsewhere = {f.name: f.metadata["from"] for f in dataclasses.fields(kind) if f.metadata}
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
    if run.num_seeds > 1 and run.data.mode == "stream":
        raise ConfigError("A stream comes in one seed's order: num_seeds > 1 needs data.mode='memory'.")
    if run.asm.per_seed and run.asm.path:
        raise ConfigError("asm.per_seed trains an ASM for each seed, asm.path names one: use one of the two.")


def _check_ranges(run: RunConfig):
    at_least = {
        "bins": (run.bins, 2 if run.simulated else 0),
        "num_seeds": (run.num_seeds, 1),
        "seeds_per_batch": (run.seeds_per_batch, 1),
        "data.num_workers": (run.data.num_workers, 0),
        "eval.num_workers": (run.eval.num_workers, 0),
        "data.episodes": (run.data.episodes, 2),
        "data.shards": (run.data.shards, 0),
        "mesh.seed": (run.mesh.seed, 0),
        "mesh.data": (run.mesh.data, 0),
        "data.block_episodes": (run.data.block_episodes, 1),
        "asm.batch_size": (run.asm.batch_size, 1),
        "asm.num_epochs": (run.asm.num_epochs, 0),
        "asm.checkpoint_every_epochs": (run.asm.checkpoint_every_epochs, 1),
        "asm.state_tokens": (run.asm.state_tokens, 1),
        "asm.num_blocks": (run.asm.num_blocks, 1),
        "train.num_steps": (run.train.num_steps, 0),
        "train.batch_size": (run.train.batch_size, 1),
        "train.n_step": (run.train.n_step, 1),
        "train.max_chunk": (run.train.max_chunk, 1),
        "train.checkpoint_every_steps": (run.train.checkpoint_every_steps, 1),
        "train.keep_policies": (run.train.keep_policies, 1),
        "ope.clone_steps": (run.ope.clone_steps, 1),
        "eval.every_steps": (run.eval.every_steps, 1),
        "eval.episodes": (run.eval.episodes, 1),
        "eval.final_episodes": (run.eval.final_episodes, 1),
    }
    for name, (value, low) in at_least.items():
        if value < low:
            raise ConfigError(f"config.{name} must be at least {low}, got {value}.")
    within: dict[str, tuple[float, float, float]] = {
        "data.epsilon": (run.data.epsilon, 0, 1),
        "data.held_out": (run.data.held_out, 0, 0.5),
        "asm.dropout": (run.asm.dropout, 0, 0.99),
    }
    for name, (share, least, most) in within.items():
        if not least <= share <= most:
            raise ConfigError(f"config.{name} must lie in [{least}, {most}], got {share}.")
    one_of = {
        "data.mode": (run.data.mode, "memory", "stream"),
        "data.done": (run.data.done, "terminal", "truncation"),
        "asm.schedule": (run.asm.schedule, "constant", "cosine"),
        "train.policy_schedule": (run.train.policy_schedule, "constant", "cosine"),
        "eval.mode": (run.eval.mode, "sample", "greedy"),
        "eval.asynchronous": (run.eval.asynchronous, "on", "off"),
        "eval.device": (run.eval.device, "cpu", "accelerator"),
    }
    for name, (chosen, *known) in one_of.items():
        if chosen not in known:
            raise ConfigError(f"config.{name} must be {' or '.join(map(repr, known))}, got {chosen!r}.")


def explain_flag_error(argv: list[str], error: Exception) -> str:
    """An error of flag parsing in one line; for an unknown --config.… field it suggests the nearest known one."""
    message = " ".join(str(error).split())
    if isinstance(error, AttributeError | KeyError | TypeError):
        fields = [argument.split("=")[0].lstrip("-") for argument in argv if argument.lstrip("-").startswith("config.")]
        unknown = [field for field in fields if field.split(".")[-1] in message]
        close = re.search(r'Did you mean "(\w+)"', message)
        hint = f"Did you mean {close.group(1)!r}?" if close else "The fields and what they mean: configs/base.py."
        return f"{', '.join(unknown) or message}: no such field. {hint}"
    return message.split("Error: ")[-1] if "Traceback" in message else message
