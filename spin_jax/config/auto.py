"""Decides every 'auto' of a configuration, once; the decisions are recorded in the workdir's config.json."""

import os

import jax
from ml_collections import ConfigDict

from spin_jax.errors import ConfigError
from spin_jax.record.machine import usable_cores
from spin_jax.registry import LEARNERS, POLICIES, PolicyEntry


def resolve(config: ConfigDict, accelerated: bool | None = None) -> ConfigDict:
    """A copy of the configuration: the policy's implied fields are set and every 'auto' is decided for this machine.

    Relative paths become absolute, so that the workdir can be read from any folder.

    accelerated: decide as for a machine with an accelerator, or as for one without; None: as this machine is. Wrong
    names and values are left as they are; `config.build.build` reports them. Raises ConfigError if a
    section is missing.
    """
    try:
        return _resolve(config, accelerated)
    except (AttributeError, KeyError) as error:
        missing = str(error).strip("'\"")
        raise ConfigError(f"config.{missing} is missing; configs/base.py has all fields.") from error


def _resolve(config: ConfigDict, accelerated: bool | None) -> ConfigDict:
    config = ConfigDict(config.to_dict(), type_safe=False)
    entry = POLICIES.get(config.policy)
    if entry is not None:
        config.update_from_flattened_dict(dict(entry.implies(config)))
    if accelerated is None:
        accelerated = jax.default_backend() != "cpu"
    if config.precision == "auto":
        config.precision = "bfloat16" if accelerated else "float32"
    if config.seeds_per_batch == 0:
        config.seeds_per_batch = config.num_seeds if accelerated else 1
    for section in (config.data, config.eval):
        section.num_workers = worker_processes(section.num_workers)
    if config.eval.asynchronous == "auto":
        config.eval.asynchronous = "on" if accelerated or usable_cores() > 2 else "off"
    if config.eval.device == "auto":
        # an accelerator answers only after its current chunk of training, so beside training the host computes
        beside = config.eval.asynchronous == "on"
        config.eval.device = "accelerator" if accelerated and not beside else "cpu"
    for section, name in ((config.asm, "path"), (config.asm, "body_path"), (config.data, "path"), (config.data, "dir")):
        section[name] = absolute(section[name])
    learner = LEARNERS.get(config.learner)
    if config.factored.dropout == -1 and learner is not None:
        config.factored.dropout = learner.factored_dropout
    _masking(config, entry)
    _extraction(config, entry)
    return config


def absolute(path: str) -> str:
    """The path as it is seen from any folder; "", ~ and addresses such as gs://… stay as they are."""
    free = not isinstance(path, str) or not path or path.startswith("~") or "://" in path
    return path if free else os.path.abspath(path)


def worker_processes(configured: int) -> int:
    """Number of environment processes; -1 means one per usable core, or none if only one core is usable."""
    cores = usable_cores()
    return configured if configured != -1 else (cores if cores > 1 else 0)


def _masking(config: ConfigDict, entry: PolicyEntry | None):
    if config.asm.masking == "auto":
        config.asm.masking = "full_range" if entry is not None and entry.all_masked else "fixed"
    if config.asm.masking == "full_range":
        config.asm.update(replace_mask=1.0, replace_random=0.0)


def _extraction(config: ConfigDict, entry: PolicyEntry | None):
    """Decides iql.extract_after=-1: the critics learn alone first if the policy starts from the ASM's slot heads."""
    if config.iql.extract_after == -1:
        cloned = entry is not None and entry.has_asm_heads and config[entry.section].heads == "asm"
        steps = config.train.num_steps
        config.iql.extract_after = steps * 3 // 4 if cloned and isinstance(steps, int) else 0
