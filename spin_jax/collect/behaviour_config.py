"""The settings of the online training of behaviour policies, and those that suit each task."""

import dataclasses
from typing import Annotated, Any

from spin_jax.envs.tasks import DM_CONTROL, EPISODE_STEPS
from spin_jax.errors import ConfigError
from spin_jax.fields import KINDS, Batch, Count, CountOrZero, Fraction, Range, Section, Share, Size, SizeOrZero
from spin_jax.learners.decqn import DecQNConfig


@dataclasses.dataclass(frozen=True)
class BehaviourConfig(Section, where="--set="):
    """Settings of the online loop; a frame is one environment step."""

    num_frames: Count = 1_000_000
    num_envs: Size = 8
    num_workers: SizeOrZero = 0  # environment processes, 0 = inline
    random_frames: CountOrZero = 8_000  # uniform random joint actions first
    frames_per_update: Count = 4
    batch_size: Batch = 128
    n_step: Annotated[int, Range(1, EPISODE_STEPS)] = 3
    gamma: Fraction = 0.99
    explore: Annotated[float, Range(0, 1, below=True)] = 0.1  # p of collect.exploration
    hold: Share = 0.0  # probability a step that an environment begins to hold random choices (collect.exploration)
    replay_frames: Count = 1_000_000
    eval_every_frames: Count = 20_000
    eval_episodes: Size = 5
    learner: DecQNConfig = DecQNConfig()


def config_for(task: str) -> BehaviourConfig:
    """The settings for a task: above 12 slots, larger batches, fewer updates, a lower learning rate and min targets.

    quadruped-walk holds random choices: without that it learns to walk on its side, for half of the reward.
    humanoid-stand's episodes are short (collect.humanoid_lesson), so the replay has room for more of them.
    """
    if DM_CONTROL[task].num_slots <= 12:
        return BehaviourConfig(hold=0.02 if task == "quadruped_walk" else 0.0)
    large = BehaviourConfig(
        batch_size=256, frames_per_update=8, learner=DecQNConfig(learning_rate=1.5e-4, target="min")
    )
    if task != "humanoid_stand":
        return large
    return dataclasses.replace(
        large, num_envs=16, frames_per_update=6, n_step=5, explore=0.03, hold=0.002, replay_frames=2_000_000
    )


def with_settings(config: BehaviourConfig, settings: list[str]) -> BehaviourConfig:
    """Replaces fields by 'name=value' strings ('explore=0.4', 'learner.width=512').

    Raises ConfigError, with the known names, for an unknown name or a missing value, and for values out of range.
    """
    for setting in settings:
        path, _, text = setting.partition("=")
        owner, _, name = path.rpartition(".")
        target: Any = getattr(config, owner, None) if owner else config
        names = [f.name for f in dataclasses.fields(target)] if dataclasses.is_dataclass(target) else []
        if name not in names or name == "learner" or not text:
            known = [f.name for f in dataclasses.fields(BehaviourConfig) if f.name != "learner"]
            known += [f"learner.{f.name}" for f in dataclasses.fields(DecQNConfig)]
            raise ConfigError(f"--set={setting}: write NAME=VALUE, NAME one of {', '.join(known)}.")
        kind = type(getattr(target, name))
        try:
            value = kind(text)
        except ValueError:
            raise ConfigError(f"--set={setting}: {name} must be {KINDS[kind]}.") from None
        target = dataclasses.replace(target, **{name: value})
        config = dataclasses.replace(config, learner=target) if owner else target
    return config
