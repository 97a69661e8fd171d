"""From a ConfigDict to checked settings: every section becomes a frozen dataclass before anything is run."""

import dataclasses
import difflib
import math
import pathlib
import re

import jax
from ml_collections import ConfigDict

from spin_jax.data.dataset import split_expression
from spin_jax.errors import ConfigError
from spin_jax.learners.asm import ASMOptimiserConfig
from spin_jax.models.asm import ASMConfig
from spin_jax.models.transformer import BodyConfig
from spin_jax.objectives.masked_modelling import MaskingConfig
from spin_jax.policies.base import no_encoding
from spin_jax.record.machine import usable_cores
from spin_jax.registry import ENVS, LEARNERS, POLICIES
from spin_jax.types import ActionSpec

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    dir: str
    path: str
    level: str
    episodes: int
    epsilon: float
    seed: int
    normalise: bool
    mode: str
    block_episodes: int
    num_workers: int


@dataclasses.dataclass(frozen=True)
class ASMSection:
    """The section `asm`, flat; the parts below are what the rooms take."""

    path: str
    per_seed: bool
    epoch: int
    other_data: bool
    width: int
    num_heads: int
    num_blocks: int
    ffn_mult: int
    state_tokens: int
    head_width: int
    dropout: float
    positions: str
    masking: str
    mask_rate: float
    full_mask_share: float
    replace_mask: float
    replace_random: float
    learning_rate: float
    schedule: str
    clip_norm: float
    batch_size: int
    num_epochs: int
    checkpoint_every_epochs: int
    dtype: str | None = dataclasses.field(default=None, metadata={"of": "precision"})

    @property
    def model(self) -> ASMConfig:
        body = BodyConfig(self.width, self.num_heads, self.num_blocks, self.ffn_mult, self.dropout, self.dtype)
        return ASMConfig(body, self.state_tokens, self.head_width, self.positions)

    @property
    def masking_config(self) -> MaskingConfig:
        return MaskingConfig(self.masking, self.mask_rate, self.full_mask_share, self.replace_mask, self.replace_random)

    def optimiser(self, num_steps: int) -> ASMOptimiserConfig:
        return ASMOptimiserConfig(
            self.learning_rate, self.clip_norm, decay_steps=num_steps if self.schedule == "cosine" else 0
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    num_steps: int
    batch_size: int
    n_step: int
    policy_schedule: str
    max_chunk: int
    checkpoint_every_steps: int


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    every_steps: int
    episodes: int
    final_episodes: int
    mode: str
    num_workers: int
    asynchronous: str
    device: str
    video: bool


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """All settings of a run; `policy_config` and `learner_config` are those of the chosen ones."""

    task: str
    bins: int
    policy: str
    learner: str
    seed: int
    num_seeds: int
    seeds_per_batch: int
    precision: str
    data: DataConfig
    asm: ASMSection
    policy_config: object
    learner_config: object
    train: TrainConfig
    eval: EvalConfig


def did_you_mean(name: str, known) -> str:
    """' Did you mean …?' or, where nothing is close, the known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy of the configuration with every 'auto' decided and what the policy implies filled in."""
    config = ConfigDict(config.to_dict())
    if config.policy == "spin_warm":
        config.spin.update(queries="mask", heads="asm", head_width=config.asm.head_width)
    if config.asm.masking == "auto":
        entry = POLICIES.get(config.policy)
        config.asm.masking = "full_range" if entry and entry.all_masked else "fixed"
    if config.asm.masking == "full_range":
        config.asm.update(replace_mask=1.0, replace_random=0.0)
    if config.iql.extract_after < 0:
        from_the_asm = config.policy == "spin_warm" or config.get(config.policy, {}).get("heads") == "asm"
        config.iql.extract_after = config.train.num_steps * 3 // 4 if from_the_asm else 0
    return config


def build(config: ConfigDict) -> RunConfig:
    """Check a resolved configuration and freeze it. Raises ConfigError naming the field and what would do."""
    for field, table in (("task", ENVS), ("policy", POLICIES), ("learner", LEARNERS)):
        if config[field] not in table:
            raise ConfigError(f"config.{field} is {config[field]!r}.{did_you_mean(config[field], table)}")
    if config.precision not in PRECISIONS:
        raise ConfigError(f"config.precision must be one of {', '.join(PRECISIONS)}, got {config.precision!r}.")
    policy, learner = POLICIES[config.policy], LEARNERS[config.learner]
    try:
        run = RunConfig(
            config.task,
            config.bins,
            config.policy,
            config.learner,
            config.seed,
            config.num_seeds,
            config.seeds_per_batch,
            config.precision,
            _section(config, "data", DataConfig),
            dataclasses.replace(_section(config, "asm", ASMSection), dtype=_dtype(config.precision)),
            _section(config, policy.section, policy.config),
            _section(config, learner.section, learner.config),
            _section(config, "train", TrainConfig),
            _section(config, "eval", EvalConfig),
        )
        if not run.data.path:
            split_expression(run.data.level, run.data.episodes)
        _ = run.asm.masking_config
        _check_together(run)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check_ranges(run)
    return run


def _dtype(precision: str) -> str | None:
    """What products are computed in; None is what the parameters are, float32."""
    low = precision == "bfloat16" or (precision == "auto" and jax.default_backend() != "cpu")
    return "bfloat16" if low else None


def _section(config: ConfigDict, name: str, kind: type):
    if name not in config:
        raise ConfigError(f"config.{name} is missing; it must hold the fields of {kind.__name__}.")
    values = dict(config[name])
    fields = {field.name for field in dataclasses.fields(kind) if not field.metadata}
    for unknown in sorted(values.keys() - fields):
        raise ConfigError(f"config.{name}.{unknown} is not a field.{did_you_mean(unknown, fields)}")
    for missing in sorted(fields - values.keys()):
        raise ConfigError(f"config.{name}.{missing} is missing.")
    for field, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(f"config.{name}.{field} is NaN.")
    return kind(**values)


def _check_together(run: RunConfig):
    """Refuse settings that do not go together before anything is read or trained: making functions costs nothing."""
    spec = ActionSpec((run.bins,))
    policy = POLICIES[run.policy].make(spec, 1, run.asm.model, run.policy_config)
    LEARNERS[run.learner].make(policy, spec, 1, run.learner_config)
    if policy.encode is not no_encoding and run.data.mode == "stream":
        raise ConfigError(
            f"policy {run.policy} keeps what it reads of the whole log on the device: it needs data.mode='memory'."
        )
    if policy.encode is not no_encoding and run.asm.per_seed:
        raise ConfigError(f"policy {run.policy} keeps what one ASM reads of the log: it needs asm.per_seed=False.")
    if run.num_seeds > 1 and run.data.mode == "stream":
        raise ConfigError("A stream comes in one seed's order: num_seeds > 1 needs data.mode='memory'.")
    if run.asm.per_seed and run.asm.path:
        raise ConfigError("asm.per_seed trains an ASM for each seed, asm.path names one: use one of the two.")


def _check_ranges(run: RunConfig):
    at_least = {
        "bins": (run.bins, 2),
        "num_seeds": (run.num_seeds, 1),
        "seeds_per_batch": (run.seeds_per_batch, 0),
        "data.episodes": (run.data.episodes, 2),
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
        "eval.every_steps": (run.eval.every_steps, 1),
        "eval.episodes": (run.eval.episodes, 1),
        "eval.final_episodes": (run.eval.final_episodes, 1),
        "data.epsilon": (run.data.epsilon, 0),
    }
    for name, (value, low) in at_least.items():
        if value < low:
            raise ConfigError(f"config.{name} must be at least {low}, got {value}.")
    if run.data.epsilon > 1 or not 0 <= run.asm.dropout < 1:
        raise ConfigError("config.data.epsilon must lie in [0, 1] and config.asm.dropout in [0, 1).")
    one_of = {
        "data.mode": (run.data.mode, "memory", "stream"),
        "asm.schedule": (run.asm.schedule, "constant", "cosine"),
        "train.policy_schedule": (run.train.policy_schedule, "constant", "cosine"),
        "eval.mode": (run.eval.mode, "sample", "greedy"),
        "eval.asynchronous": (run.eval.asynchronous, "auto", "on", "off"),
        "eval.device": (run.eval.device, "auto", "cpu", "accelerator"),
    }
    for name, (value, *known) in one_of.items():
        if value not in known:
            raise ConfigError(f"config.{name} must be {' or '.join(map(repr, known))}, got {value!r}.")


def explain_flag_error(argv: list[str], error: Exception) -> str:
    """One line for an error of flag parsing; an unknown --config.… field is named with the nearest known one."""
    message = " ".join(str(error).split())
    if isinstance(error, AttributeError | KeyError | TypeError):
        fields = [argument.split("=")[0].lstrip("-") for argument in argv if argument.lstrip("-").startswith("config.")]
        unknown = [field for field in fields if field.split(".")[-1] in message]
        close = re.search(r'Did you mean "(\w+)"', message)
        hint = f"Did you mean {close.group(1)!r}?" if close else "The fields and what they mean: configs/base.py."
        return f"{', '.join(unknown) or message}: no such field. {hint}"
    return message.split("Error: ")[-1] if "Traceback" in message else message


def num_workers(configured: int) -> int:
    """-1 means one process a usable core, or none where there is only one."""
    cores = usable_cores()
    return configured if configured >= 0 else (cores if cores > 1 else 0)


def data_dir(run: RunConfig) -> pathlib.Path:
    """The expanded config.data.dir; raises ConfigError where it is something else than a directory."""
    path = pathlib.Path(run.data.dir).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ConfigError(f"config.data.dir is {path}, which is a file, not a directory.")
    return path
