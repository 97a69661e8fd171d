"""`spin_jax.load`: a trained policy from a workdir or from an exported file, to act with."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from spin_jax.data import spaces as vocabulary
from spin_jax.errors import DataError
from spin_jax.export import numpy_policy
from spin_jax.export.archive import read_header
from spin_jax.export.jax_format import read_jax
from spin_jax.export.onnx_format import read_onnx
from spin_jax.export.trained import VERSION, Trained, load_trained
from spin_jax.export.words import checked, is_row, names_of, records_of, rows_of, shares_of
from spin_jax.record.progress import setup_logging
from spin_jax.types import ActionSpec, Spaces


class TrainedPolicy:
    """A trained policy that acts on observations as its log has them; made by `load`.

    An observation is an array [S] or a batch [B, S], or comes in the words of the log: a mapping of columns to values,
    a list of such mappings, or a data frame. Actions are then {slot: name of the choice} instead of indices.

    header: what the policy is (task, policy, learner, seed, step) and the versions that it was made with.
    """

    def __init__(self, header: dict, act: Callable, probabilities: Callable | None, where: object = "the header"):
        self.header, self._play, self._probabilities = header, act, probabilities
        self.spaces: Spaces = vocabulary.from_json(header["spaces"], where)
        self._greedy = np.array(header["greedy_noise"], np.float32)

    @property
    def spec(self) -> ActionSpec:
        """The space of joint actions."""
        return self.spaces.spec

    def __repr__(self) -> str:
        made = f"{self.header['policy']} with {self.header['learner']} on {self.header['task']}"
        return f"<{made}: {self.spaces.num_features} features, slots of {self.spec.cardinalities} choices>"

    def act(self, observation: Any, greedy: bool = True, seed: int | np.random.Generator | None = None) -> Any:
        """The choice of each slot: int32 [N] or [B, N]; for words, one mapping or a list of mappings.

        greedy=False samples. With an integer seed, equal calls give equal actions, in every format; give a
        numpy.random.Generator or None for other random numbers in every call. Raises DataError if the observation has
        another width or column, NaN, or an unknown category.
        """
        rows, single, words = self._read(observation)
        actions = self.play(rows, self.noise(len(rows), greedy, seed))
        found = names_of(self.spaces, actions) if words else actions
        return found[0] if single else found

    def probabilities(self, observation: Any) -> Any:
        """With which probability act(greedy=False) takes each choice: float32 [N, K] or [B, N, K], 0 on padding.

        For words, {slot: {name of the choice: probability}}. Exact if slots are independent given the observation
        (header["exact_probabilities"]). Otherwise the share of each choice among 64 draws, the same in every call: of
        policies with dependent slots these are marginals, and of learner bcq, which plays what its critics prefer.
        Raises DataError as `act`.
        """
        rows, single, words = self._read(observation)
        if self._probabilities is None or not len(rows):
            found = numpy_policy.estimate(self.play, rows, self._greedy.size, self.spec.cardinalities)
        else:
            found = np.asarray(self._probabilities(rows), np.float32)
        shown = shares_of(self.spaces, found) if words else found
        return shown[0] if single else shown

    def noise(self, rows: int, greedy: bool, seed: int | np.random.Generator | None) -> np.ndarray:
        """The Gumbel noise [rows, G] that `act` plays with."""
        if greedy:
            return np.tile(self._greedy, (rows, 1))
        return numpy_policy.gumbel(seed, rows, self._greedy.size)

    def play(self, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions [B, N] int32 of observations [B, S] and noise [B, G], without checks."""
        if not len(observation):  # compiled programs take a row at least
            return np.zeros((0, self.spec.num_slots), np.int32)
        return np.asarray(self._play(observation, noise), np.int32)

    def _read(self, observation: Any) -> tuple[np.ndarray, bool, bool]:
        """(observations [B, S], whether it is a single one, whether it is in words)."""
        records = records_of(observation)
        if records is None:
            rows = checked(self.spaces, observation)
            return rows, np.ndim(observation) == 1, False
        return rows_of(self.spaces, records), is_row(observation), True


def from_trained(trained: Trained) -> TrainedPolicy:
    """The policy of a workdir, compiled for each batch size when it first comes."""
    act, probabilities = (None if f is None else jax.jit(f) for f in trained.functions())
    assert act is not None  # every policy acts
    call = functools.partial(act, trained.arrays)
    known = None if probabilities is None else functools.partial(probabilities, trained.arrays)
    return TrainedPolicy(trained.header, call, known)


def load(path: str | os.PathLike, seed: int | None = None, step: int | str | None = None) -> TrainedPolicy:
    """The trained policy in `path`: a workdir of main.py, or a file that `python -m spin_jax.export` wrote.

    seed, step: which policy of a workdir. It may have several seeds, and several steps are kept with
    config.train.keep_policies: the last one is loaded, that step, or "best", which off-policy evaluation (--stage=ope)
    values most among those that the log supports. A workdir needs neither its log nor its simulator. Raises a subclass
    of spin_jax.errors.UserError if there is no such policy, or if something that it needs is missing.
    """
    setup_logging()  # Orbax tells of every folder that it only reads
    place = pathlib.Path(path).expanduser()
    if place.is_dir():
        return from_trained(load_trained(place, seed, step))
    if not place.is_file():
        raise DataError(f"{place} is neither a workdir nor an exported policy: there is no such file.")
    with place.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if not is_archive:
        return TrainedPolicy(*read_onnx(place), where=place)
    header = read_header(place)
    if header.get("version") != VERSION or header.get("format") not in ("jax", "numpy"):
        raise DataError(f"{place} is no export of a policy, or one of another version of spin_jax.")
    if header["format"] == "jax":
        return TrainedPolicy(header, *read_jax(place, header), where=place)
    found = numpy_policy.load(place)
    exact = found.exact_probabilities if header["exact_probabilities"] else None
    return TrainedPolicy(header, found.play, exact, where=place)
