"""The sections of a configuration as frozen dataclasses; configs/base.py explains every field."""

import dataclasses
import pathlib
from typing import Any

from spin_jax.errors import ConfigError
from spin_jax.learners.asm import ASMOptimiserConfig
from spin_jax.learners.base import LearnerConfig
from spin_jax.learners.fitted_q import FittedQConfig
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.models.asm import ASMConfig
from spin_jax.models.transformer import BodyConfig
from spin_jax.objectives.masked_modelling import MaskingConfig
from spin_jax.registry import ENVS


@dataclasses.dataclass(frozen=True)
class DataConfig:
    dir: str
    path: str
    level: str
    episodes: int
    epsilon: float
    seed: int
    normalise: bool
    held_out: float
    done: str
    mode: str
    shards: int
    block_episodes: int
    num_workers: int
    columns: ColumnConfig


@dataclasses.dataclass(frozen=True)
class ASMSection:
    """The section `asm`, flat; its properties are the configurations that the model and its learner take."""

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
    state_free: bool
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
    precision: str = dataclasses.field(kw_only=True, metadata={"from": "precision"})

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
class TrainConfig:
    num_steps: int
    batch_size: int
    n_step: int
    always_dropout: bool
    policy_schedule: str
    max_chunk: int
    checkpoint_every_steps: int
    keep_policies: int


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    seed: int
    data: int


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
class OffPolicyConfig(FittedQConfig):
    """The settings of fitted Q evaluation, and of the clone that it is judged by."""

    clone_steps: int


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """All settings of a run; `policy_config` and `learner_config` belong to the chosen policy and learner."""

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
    policy_config: Any  # the dataclass that registry.py names for the policy
    learner_config: LearnerConfig
    train: TrainConfig
    mesh: MeshConfig
    eval: EvalConfig
    ope: OffPolicyConfig

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
