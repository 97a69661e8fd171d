"""The sections of a configuration as frozen dataclasses; configs/base.py explains every field."""

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

from spin_jax.envs.structured_names import StructuredConfig
from spin_jax.errors import ConfigError
from spin_jax.fields import (
    COUNT,
    SEEDS,
    Batch,
    Count,
    CountOrZero,
    DropoutRate,
    Fraction,
    Positive,
    Range,
    Section,
    Seed,
    Share,
    Size,
    SizeOrZero,
    Workers,
)
from spin_jax.learners.asm import ASMOptimiserConfig
from spin_jax.learners.base import LearnerConfig
from spin_jax.learners.fitted_q import FittedQConfig
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.models.asm import ASMConfig, Positions
from spin_jax.models.transformer import BodyConfig
from spin_jax.objectives.masked_modelling import Masking, MaskingConfig
from spin_jax.registry import ENVS


@dataclasses.dataclass(frozen=True)
class DataConfig(Section, where="config.data."):
    dir: str
    path: str
    level: str
    episodes: Annotated[int, Range(2, COUNT)]
    epsilon: Share
    seed: Seed
    normalise: bool
    held_out: Annotated[float, Range(0, 0.5)]
    done: Literal["terminal", "truncation"]
    mode: Literal["memory", "stream"]
    shards: SizeOrZero
    block_episodes: Size
    num_workers: Workers
    columns: ColumnConfig


@dataclasses.dataclass(frozen=True)
class ASMSection(Section, where="config.asm."):
    """The section `asm`, flat; its properties are the configurations that the model and its learner take."""

    path: str
    per_seed: bool
    epoch: Annotated[int, Range(0, COUNT, also=(-1,))]
    other_data: bool
    body_path: str
    width: Size
    num_heads: Size
    num_blocks: Size
    ffn_mult: Size
    state_tokens: Size
    head_width: Size
    dropout: DropoutRate
    positions: Positions
    state_free: bool
    masking: Masking
    mask_rate: Fraction
    full_mask_share: Share
    replace_mask: Share
    replace_random: Share
    learning_rate: Positive
    schedule: Literal["constant", "cosine"]
    clip_norm: Positive
    batch_size: Batch
    top_fraction: Fraction
    num_epochs: CountOrZero
    checkpoint_every_epochs: Count
    precision: str = dataclasses.field(kw_only=True, metadata={"from": "precision"})

    def agree(self) -> None:
        _ = self.model, self.masking_config, self.optimiser(0)

    @property
    def wanted_epoch(self) -> int | None:
        """The epoch that stage 2 loads; None = the last one, of a stage 1 that has ended."""
        return None if self.epoch < 0 else self.epoch

    @property
    def model(self) -> ASMConfig:
        """The ASM's architecture."""
        body = BodyConfig(
            width=self.width,
            num_heads=self.num_heads,
            num_blocks=self.num_blocks,
            ffn_mult=self.ffn_mult,
            dropout=self.dropout,
            dtype=None if self.precision == "float32" else self.precision,
        )
        return ASMConfig(
            body=body,
            state_tokens=self.state_tokens,
            head_width=self.head_width,
            positions=self.positions,
            state_free=self.state_free,
        )

    @property
    def masking_config(self) -> MaskingConfig:
        """Which slots are hidden, and what replaces them."""
        return MaskingConfig(
            masking=self.masking,
            mask_rate=self.mask_rate,
            full_mask_share=self.full_mask_share,
            replace_mask=self.replace_mask,
            replace_random=self.replace_random,
        )

    def optimiser(self, num_steps: int) -> ASMOptimiserConfig:
        """The optimiser for pre-training over num_steps gradient steps."""
        decay_steps = num_steps if self.schedule == "cosine" else 0
        return ASMOptimiserConfig(learning_rate=self.learning_rate, clip_norm=self.clip_norm, decay_steps=decay_steps)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Section, where="config.train."):
    num_steps: CountOrZero
    batch_size: Batch
    n_step: Annotated[int, Range(1, 10_000)]
    always_dropout: bool
    policy_schedule: Literal["constant", "cosine"]
    max_chunk: Annotated[int, Range(1, 1_000_000)]
    checkpoint_every_steps: Count
    keep_policies: Size


@dataclasses.dataclass(frozen=True)
class MeshConfig(Section, where="config.mesh."):
    seed: SizeOrZero
    data: SizeOrZero


@dataclasses.dataclass(frozen=True)
class EvalConfig(Section, where="config.eval."):
    every_steps: Count
    episodes: Size
    final_episodes: Size
    mode: Literal["sample", "greedy"]
    num_workers: Workers
    asynchronous: Literal["on", "off"]
    device: Literal["cpu", "accelerator"]
    video: bool


@dataclasses.dataclass(frozen=True)
class OffPolicyConfig(FittedQConfig):
    """The settings of fitted Q evaluation, and of the clone that it is judged by."""

    clone_steps: Count


@dataclasses.dataclass(frozen=True)
class MazeConfig(Section, where="config.maze."):
    """The size of the mazes; configs/maze.py makes the task's name of it."""

    actuators: Annotated[int, Range(3, 15)]


@dataclasses.dataclass(frozen=True)
class RunConfig(Section, where="config."):
    """All settings of a run; `policy_config` and `learner_config` belong to the chosen policy and learner."""

    task: str
    bins: Annotated[int, Range(0, 256)]
    policy: str
    learner: str
    seed: Seed
    num_seeds: Annotated[int, Range(1, 4096)]
    seeds_per_batch: Annotated[int, Range(1, 4096)]
    precision: Literal["float32", "bfloat16"]
    data: DataConfig
    asm: ASMSection
    policy_config: Any  # the dataclass that registry.py names for the policy
    learner_config: LearnerConfig
    train: TrainConfig
    mesh: MeshConfig
    eval: EvalConfig
    ope: OffPolicyConfig
    maze: MazeConfig
    structured: StructuredConfig

    def agree(self) -> None:
        if self.simulated and self.bins < 2:
            raise ConfigError(f"config.bins must lie in [2, 256], got {self.bins}.")
        if self.seed + self.num_seeds - 1 > SEEDS:
            raise ConfigError(f"config.seed + config.num_seeds - 1 must be at most {SEEDS}, got seed {self.seed}.")
        if self.learner_config.policy_starts_at >= max(self.train.num_steps, 1):
            raise ConfigError(
                f"config.{self.learner}.extract_after={self.learner_config.policy_starts_at} leaves the policy no step "
                f"to learn: it must be below config.train.num_steps={self.train.num_steps}."
            )

    @property
    def simulated(self) -> bool:
        """Whether the task has an environment in which policies can be played."""
        return self.task in ENVS

    @property
    def data_dir(self) -> pathlib.Path:
        """config.data.dir as an absolute path; raises ConfigError if it exists and is not a directory."""
        path = pathlib.Path(self.data.dir).expanduser().absolute()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"config.data.dir is {path}, which is a file, not a directory.")
        return path
