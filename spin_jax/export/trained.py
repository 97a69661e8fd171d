"""A trained policy of a workdir as functions of arrays: raw observations in, choices out."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from spin_jax.config.build import build
from spin_jax.config.sections import RunConfig
from spin_jax.data import spaces as vocabulary
from spin_jax.errors import ConfigError, WorkdirError
from spin_jax.learners.base import Learner
from spin_jax.record.checkpoint import CheckpointStore
from spin_jax.record.files import read_json
from spin_jax.record.machine import versions
from spin_jax.record.workdir import CONFIG, SUMMARIES, Workdir, read_config
from spin_jax.stages.evaluate_policy import load_policy
from spin_jax.stages.interface import Interface, normaliser_to_json, read_interface
from spin_jax.stages.members import Member, members
from spin_jax.stages.off_policy import best_step
from spin_jax.types import normalise

VERSION = 2  # of the header


class Trained(NamedTuple):
    """A trained policy: the run of its seed, its learner with state and frozen arrays, and what it reads and answers.

    step: gradient steps of the state. rows [R, S]: raw observations of the log.
    """

    run: RunConfig
    learner: Learner
    state: Any
    frozen: Any
    interface: Interface
    step: int
    rows: np.ndarray

    @property
    def header(self) -> dict:
        """What every export says of itself, as values of JSON; the format is added by its writer."""
        return {
            "version": VERSION,
            "task": self.run.task,
            "policy": self.run.policy,
            "learner": self.run.learner,
            "seed": self.run.seed,
            "step": self.step,
            "spaces": vocabulary.to_json(self.interface.spaces),
            "normaliser": normaliser_to_json(self.interface.normaliser),
            "greedy_noise": [float(str(number)) for number in self.greedy_noise],  # the shortest digits of a float32
            "exact_probabilities": self.learner.probabilities is not None,
            "versions": versions(),
        }

    @property
    def greedy_noise(self) -> np.ndarray:
        """[G]: the Gumbel noise with which `act` is greedy."""
        assert self.learner.greedy_noise is not None  # every learner of the registry has it
        return self.learner.greedy_noise

    @property
    def arrays(self) -> dict:
        """The arrays that `functions` take, by name; those of the optimisers are left out."""
        fields = {name: value for name, value in self.state._asdict().items() if not name.endswith("_opt")}
        return {"state": fields, "frozen": self.frozen}

    def functions(self) -> tuple[Callable, Callable | None]:
        """(act, probabilities), functions of `arrays` and more, for `jax.jit` and `jax.export`.

        act(arrays, observation [B, S], noise [B, G]) -> [B, N] int32; probabilities(arrays, observation) -> [B, N, K],
        None if the exact ones are not known. Observations are not normalised yet.
        """

        def prepared(arrays, observation):
            state = self.state._replace(**{name: None for name in self.state._fields} | arrays["state"])
            return state, arrays["frozen"], normalise(self.interface.normaliser, observation)

        def act(arrays, observation, noise):
            with jax.default_matmul_precision("highest"):  # the same choices on every kind of device
                return self.learner.act(*prepared(arrays, observation), noise)

        def probabilities(arrays, observation):
            assert self.learner.probabilities is not None
            with jax.default_matmul_precision("highest"):
                return self.learner.probabilities(*prepared(arrays, observation))

        return act, None if self.learner.probabilities is None else probabilities


BEST = "best"  # in place of a step: the one that off-policy evaluation values most


def load_trained(workdir: pathlib.Path, seed: int | None = None, step: int | str | None = None) -> Trained:
    """The last saved policy of a workdir; of several seeds, `seed` chooses one. The log is not needed.

    step: one of the kept steps (config.train.keep_policies), or BEST. Products are computed in float32, whatever the
    precision of training. Raises WorkdirError if `workdir` is not the directory of a run, ConfigError for a seed or a
    step that it does not have, CheckpointError if there is no policy or if something that it reads is missing.
    """
    workdir = workdir.expanduser().absolute()
    if (workdir.parent / CONFIG).exists() and workdir.name.startswith("seed_"):  # its ASM lies in the outer one
        seed = int(workdir.name.removeprefix("seed_")) if seed is None else seed
        return load_trained(workdir.parent, seed, step)
    member = _member(workdir, seed)
    run = dataclasses.replace(member.run, asm=dataclasses.replace(member.run.asm, precision="float32"))
    member = member._replace(run=run)
    interface, rows = read_interface(member.workdir.path)
    chosen = _step(workdir, member, step)
    learner, (state,), (asm,) = load_policy(run, [member], interface, chosen)
    last = CheckpointStore(member.state("policy")).steps()[-1]
    return Trained(run, learner, state, asm.params, interface, last if chosen is None else chosen, rows)


def _step(path: pathlib.Path, member: Member, step: int | str | None) -> int | None:
    """The step that is asked for, if it is kept; None for the last one."""
    if step != BEST:
        return None if step is None else int(step)
    path = path / "ope" / "summary.json"
    way_out = "The best step is what --stage=ope finds: run it, or name a step."
    found = best_step(read_json(path, ConfigError, way_out, SUMMARIES["ope"]), member.run.seed)
    if found is None:
        raise ConfigError(f"{path}: the log supports none of the kept steps of seed {member.run.seed}. Name a step.")
    return found


def _member(path: pathlib.Path, seed: int | None) -> Member:
    """The run of one seed in the workdir `path`."""
    if not os.path.lexists(path / CONFIG):
        raise WorkdirError(f"{path} is not the workdir of a run: it holds no {CONFIG}.")
    config = ConfigDict(read_config(path))
    try:
        run = build(config)
    except ConfigError as error:
        raise WorkdirError(f"{path / CONFIG} is not a whole configuration: {error}") from error
    team = {member.run.seed: member for member in members(run, Workdir(str(path), config))}
    if seed is None and len(team) == 1:
        return next(iter(team.values()))
    if seed not in team:
        wanted = "several seeds" if seed is None else f"no seed {seed}"
        raise ConfigError(f"{path} has {wanted}: choose one with seed={' or '.join(map(str, team))}.")
    return team[seed]
