"""A uniform replay of whole episodes on the host: n-step transitions by index, without storing next observations."""

import pathlib

import numpy as np

from spin_jax.errors import WorkdirError
from spin_jax.learners.decqn import NStep

MOST_BINS = 256  # choices are kept as bytes


class Replay:
    """A ring of `capacity // episode_steps` episodes (at least 2 `num_envs`); `num_envs` of them are being written.

    Its arrays are memory-mapped files in `directory`, so they survive a kill. Episodes that were running then count as
    cut by a time limit. Raises WorkdirError if the files are damaged or have the shapes of another run.
    """

    def __init__(self, directory: pathlib.Path, capacity: int, num_envs: int, episode_steps: int, widths: tuple):
        slots, (num_features, num_slots) = max(capacity // episode_steps, 2 * num_envs), widths
        directory.mkdir(parents=True, exist_ok=True)

        def array(name, shape, dtype):
            path = directory / f"{name}.npy"
            mode = {"mode": "r+"} if path.exists() else {"mode": "w+", "shape": shape, "dtype": dtype}
            try:
                if path.is_symlink():
                    raise ValueError("it is a symbolic link")
                if path.exists():
                    np.lib.format.open_memmap(path, "r")  # mode r+ fills a file that was cut off with zeros
                found = np.lib.format.open_memmap(path, **mode)
            except (OSError, EOFError, ValueError) as error:
                way_out = f"Delete {directory}: training continues with an empty replay."
                raise WorkdirError(f"{path} cannot be used ({error}). {way_out}") from error
            if found.shape != shape:
                raise WorkdirError(f"{path} has shape {found.shape}, this run needs {shape}: use another --workdir.")
            return found

        self.observation = array("observation", (slots, episode_steps + 1, num_features), np.float32)
        self.action = array("action", (slots, episode_steps, num_slots), np.uint8)
        self.reward = array("reward", (slots, episode_steps), np.float32)
        self.length = array("length", (slots,), np.int64)
        self.terminal = array("terminal", (slots,), bool)
        self._begun = array("begun", (1,), np.int64)  # episodes begun so far: the ring's head
        self._open = np.full(num_envs, -1)  # the slot that each environment writes to

    @property
    def size(self) -> int:
        """Transitions held."""
        return int(self.length.sum())

    def begin(self, env: int, observation: np.ndarray) -> None:
        """Starts an episode of environment `env` in the oldest slot that no other environment writes to."""
        while (slot := self._begun[0] % len(self.length)) in np.delete(self._open, env):
            self._begun[0] += 1
        self._begun[0] += 1
        self._open[env] = slot
        self.length[slot], self.terminal[slot] = 0, False
        self.observation[slot, 0] = observation

    def add(self, observation: np.ndarray, action: np.ndarray, reward: np.ndarray, terminal: np.ndarray) -> None:
        """Adds one step of all environments; observation [num_envs, S] comes after action [num_envs, N]."""
        slot, t = self._open, self.length[self._open]
        self.observation[slot, t + 1] = observation
        self.action[slot, t] = action
        self.reward[slot, t] = reward
        self.terminal[slot] = terminal
        self.length[slot] += 1

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], n_step: int, gamma: float) -> NStep:
        """Random n-step transitions of leading shape `shape`.

        They are cut at the episode's end, and bootstrap there unless it is terminal.
        """
        ends = np.cumsum(self.length)
        index = rng.integers(0, ends[-1], shape)
        slot = np.searchsorted(ends, index, side="right")
        t = index - (ends[slot] - self.length[slot])
        steps = np.minimum(n_step, self.length[slot] - t)
        k = np.arange(n_step)
        inside = k < steps[..., None]
        rewards = self.reward[slot[..., None], np.minimum(t[..., None] + k, self.reward.shape[1] - 1)]
        bootstrap = ~(self.terminal[slot] & (t + steps == self.length[slot]))
        return NStep(
            self.observation[slot, t],
            self.action[slot, t].astype(np.int32),
            (rewards * inside * gamma**k).sum(-1).astype(np.float32),
            (gamma**steps * bootstrap).astype(np.float32),
            self.observation[slot, t + steps],
        )
