"""What stage 2 finds ready: the frozen arrays (the ASM, a distilled student) and, for a cached policy, encodings."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.config.build import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.data.memory import free_memory
from spin_jax.data.sampler import on_device
from spin_jax.data.stream import TransitionStream
from spin_jax.errors import CheckpointError, ConfigError, DataError
from spin_jax.frozen.artefact import FrozenASM, describe, load_asm
from spin_jax.policies.base import Policy, no_encoding
from spin_jax.policies.cached import packed
from spin_jax.record.checkpoint import digest, flatten
from spin_jax.record.progress import Progress, log
from spin_jax.registry import POLICIES
from spin_jax.stages.stage import Member, Stage, seeds_of
from spin_jax.training.loop import Hook, fit
from spin_jax.types import ActionSpec

ENCODE_ROWS = 4096  # transitions encoded in one program


def asm_path(member: Member) -> pathlib.Path:
    """The ASM that config.asm.path names, or the one that stage 1 of this run leaves."""
    path = member.run.asm.path
    return pathlib.Path(path).expanduser() if path else member.workdir.asm


def has_own_frozen(run: RunConfig) -> bool:
    """Whether each seed has its own frozen arrays."""
    return run.asm.per_seed or POLICIES[run.policy].distiller is not None


def load_frozen(
    run: RunConfig, team: Sequence[Member], dataset: Dataset, spec: ActionSpec, make: bool = False
) -> list[FrozenASM]:
    """The frozen arrays of the configured policy for each seed; raises CheckpointError where they do not fit.

    Policies that read no ASM get an empty tree and the data's own normaliser; spin_distill gets the ASM and the student
    that was distilled from it, which is done here where `make` says so (it resumes, too).
    """
    entry, expected = POLICIES[run.policy], describe(run, spec, dataset)
    if not entry.reads_asm:
        return [FrozenASM((), dataset.normaliser, {"describes": expected})] * len(team)
    epoch = None if run.asm.epoch < 0 else run.asm.epoch
    loaded = {path: load_asm(path, epoch, expected, run, spec) for path in dict.fromkeys(map(asm_path, team))}
    asms = [loaded[asm_path(member)] for member in team]
    if entry.distiller is None:
        return asms
    students = _distilled(run, team, dataset, spec, asms, make)
    return [
        asm._replace(params={"asm": asm.params, "student": student})
        for asm, student in zip(asms, students, strict=True)
    ]


def _distilled(run: RunConfig, team: Sequence[Member], dataset: Dataset, spec: ActionSpec, asms, make: bool) -> list:
    """The students' parameters, from the members' workdir/distill; trained to the end where `make`."""
    config = run.policy_config
    learner = POLICIES[run.policy].distiller(spec, dataset.num_features, run.asm.model, config)
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(member.run.seed), 2)) for member in team]
    stage, seeds = Stage(team, "distill"), seeds_of(run, own_frozen=run.asm.per_seed)
    states = stage.begin(lambda i: learner.init(keys[i][0]), config.steps)
    if stage.start < config.steps:
        if not make:
            raise CheckpointError(f"No distilled student in {team[0].workdir.path}: run --stage=policy first.")
        with stage:
            state = fit(
                learner,
                seeds.bundle(states),
                seeds.bundle_frozen([asm.params for asm in asms]),
                on_device(dataset.train, asms[0].normaliser),
                seeds.bundle([key[1] for key in keys]),
                num_steps=config.steps,
                batch_size=config.batch_size,
                max_chunk=run.train.max_chunk,
                start_step=stage.start,
                seeds=seeds,
                on_metrics=stage.write,
                hooks=[Hook(run.train.checkpoint_every_steps, lambda step, s: stage.save(step, seeds.split(s), {}))],
                what="distill",
                show=("distill_mse", "distill_kl"),
            )
            states = seeds.split(state)
            stage.finish([{"seconds": stage.seconds, "steps": config.steps}] * len(team))
    return [state.params for state in states]


def encode_log(policy: Policy, asm: FrozenASM, data, directory: pathlib.Path, fingerprint: str, n_step: int):
    """`data` (on the device) with what the policy reads in place of observations, packed bfloat16, if it encodes them.

    n_step: how many steps after s the state s' comes; 0 = the learner does not ask about s'. Computed once, in chunks,
    and kept in `directory` under a key of ASM, normaliser and log. Raises DataError with the sizes where it would not
    fit, ConfigError for a log that streams.
    """
    if policy.encode is no_encoding:
        return data
    if isinstance(data, TransitionStream):
        raise ConfigError("z(s) of the whole log is kept on the device: this policy needs data.mode='memory'.")
    facts = [digest(flatten((asm.params, asm.normaliser))), asm.record["describes"], fingerprint]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    compiled = jax.jit(lambda frozen, observation: packed(policy.encode(frozen, observation)))
    encode = functools.partial(compiled, asm.params)
    shape = jax.eval_shape(encode, data.observation).shape
    _check_room((2 if n_step else 1) * 2 * int(np.prod(shape)))
    path = directory / f"{key}.npy"
    encoded = _encoded(path, encode, data.observation, shape)
    after = path.with_suffix(f".{n_step}.npy")
    following = _encoded(after, encode, data.next_observation, shape) if n_step else None
    return data._replace(encoded=encoded, next_encoded=following)


def _check_room(need: int):
    free = free_memory()
    place = "accelerator" if "accelerator" in free else "host"
    if need > free.get(place, need):
        raise DataError(
            f"z(s) of the whole log takes {need / 1e9:.1f} GB of the {place}, where {free[place] / 1e9:.1f} GB are "
            f"free. Use fewer transitions (data.level='expert[:50%]'), a smaller asm.width, or policy spin_warm."
        )


def _encoded(path: pathlib.Path, encode, observation: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """encode(observation) [T, N, D] uint16, read from `path` or computed and written there."""
    if path.exists():
        log.info(f"policy: z(s) of {shape[0]} transitions from {path}")
        return jnp.asarray(np.load(path, mmap_mode="r"))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    out = np.lib.format.open_memmap(temporary, "w+", np.uint16, shape)
    rows = min(ENCODE_ROWS, shape[0])
    with Progress("policy: z(s) of the log", shape[0], unit="transition") as progress:
        for start in range(0, shape[0], rows):
            start = min(start, shape[0] - rows)  # the last chunk overlaps, so that one program serves all
            out[start : start + rows] = encode(observation[start : start + rows])
            progress.update(start + rows)
    out.flush()
    temporary.replace(path)
    path.with_suffix(".json").write_text(json.dumps({"what": "z(s), bfloat16 as uint16", "shape": shape}) + "\n")
    return jnp.asarray(out)
