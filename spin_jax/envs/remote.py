"""Several environments in a worker process, which shares memory with its parent.

Worker processes are spawned, because JAX is multi-threaded and forking is unsafe. Observations, actions and rewards lie
in the shared memory; the pipe carries one short message a step in each direction.
"""

import contextlib
import mmap
import os
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, cast

import numpy as np

from spin_jax.envs.base import MakeEnv
from spin_jax.envs.inline import InlineGroup
from spin_jax.errors import UserError

ANSWER = ("observation", "reward", "terminal", "last")
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # otherwise the temporary directory
RESTARTS = 3  # restarts in a row, without an answer in between, before a worker's death counts as an error


class Board:
    """Arrays that a worker and its parent share, for B environments of S features and N slots.

    They lie in a file without a name, so nothing stays behind, however the two end. The parent makes the board and
    sends the file's descriptor; the worker opens it by that.
    """

    def __init__(self, num_envs: int, num_features: int, num_slots: int, descriptor: int | None = None):
        shapes = {
            "observation": ((num_envs, num_features), np.float32),
            "action": ((num_envs, num_slots), np.int32),
            "reward": ((num_envs,), np.float32),
            "terminal": ((num_envs,), np.bool_),
            "last": ((num_envs,), np.bool_),
        }
        sizes = {key: int(np.prod(shape)) * np.dtype(kind).itemsize for key, (shape, kind) in shapes.items()}
        total, start = sum(sizes.values()), 0
        self._file = (
            tempfile.TemporaryFile(dir=MEMORY) if descriptor is None else open(descriptor, "r+b")  # noqa: SIM115
        )
        self._file.truncate(total)
        self._memory, self.arrays = mmap.mmap(self._file.fileno(), total), {}
        for key, (shape, kind) in shapes.items():
            self.arrays[key] = np.ndarray(shape, kind, self._memory, start)
            start += sizes[key]

    def answer(self) -> tuple[np.ndarray, ...]:
        """A copy of the arrays in which the worker returns a step: observation, reward, terminal, last."""
        return tuple(self.arrays[name].copy() for name in ANSWER)

    def send_to(self, process: BaseProcess, pipe: Connection) -> None:
        """Sends the descriptor of the board's file to the worker at the other end of the pipe."""
        send_handle(pipe, self._file.fileno(), process.pid)

    def close(self) -> None:
        self.arrays = {}
        self._memory.close()
        self._file.close()


class RemoteGroup:
    """An InlineGroup in a worker process; a worker that dies is replaced.

    An episode follows from its seed and its actions. So the new worker replays them, and results do not change.
    """

    def __init__(self, context: BaseContext, task: str, bins: int, num_envs: int, make_env: MakeEnv):
        self._context, self._arguments, self._num_envs = context, (task, bins, num_envs, make_env), num_envs
        # seed and actions of each environment since its reset
        self._history: list[tuple[int | None, list[np.ndarray]]] = [(None, [])] * num_envs
        self._pending: tuple[str, Any] = ("", None)
        self._deaths, self._board = 0, cast(Board, None)  # open() makes the board: the worker first sends its sizes
        self._start()

    def _start(self):
        self._pipe, child = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(child, *self._arguments), daemon=True)
        self._process.start()
        child.close()

    def open(self) -> None:
        """Wait until the worker has made its environments; one that dies before is replaced.

        Start all workers before opening the first one: they then make their environments at the same time.
        """
        while (sizes := self._answer()) is None:
            self._bury()
        self.spec, num_features = sizes
        if self._board is None:
            self._board = Board(self._num_envs, num_features, self.spec.num_slots)
        with contextlib.suppress(OSError):  # a dead worker is noticed when it does not answer
            self._board.send_to(self._process, self._pipe)

    def send(self, method: str, argument: Any) -> None:
        self._pending = method, argument
        if method == "reset":
            self._history = [(seed, []) for seed in argument]
        elif method == "reset_one":
            self._history[argument[0]] = argument[1], []
        self._post(method, argument)

    def _post(self, method, argument):
        if method == "step":
            self._board.arrays["action"][:] = argument
        with contextlib.suppress(OSError):  # a dead worker is noticed when it does not answer
            self._pipe.send((method, None if method == "step" else argument))

    def receive(self) -> Any:
        method, argument = self._pending
        while self._answer() is None:
            self._bury()
            self.open()
            self._repeat()
            self._post(method, argument)
        self._deaths = 0
        if method == "step":
            for (_, actions), action in zip(self._history, argument, strict=True):
                actions.append(np.array(action))
            return self._board.answer()
        observation = self._board.arrays["observation"].copy()
        return observation if method == "reset" else observation[argument[0]]

    def _answer(self):
        """What the worker sends, or None if it has died.

        Raises the UserError that the worker sends, or RuntimeError with the text of another exception.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            return None
        if isinstance(answer, UserError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"An environment worker failed: {answer}")
        return answer

    def _bury(self):
        """Replace a dead worker by a new one. Raises RuntimeError after RESTARTS restarts in a row."""
        self._process.join(5)
        self._deaths += 1
        if self._deaths > RESTARTS:
            raise RuntimeError(f"An environment worker died {self._deaths} times (exit code {self._process.exitcode}).")
        self._pipe.close()
        self._start()

    def _repeat(self):
        """Bring a new worker to the state of the dead one; the results of the replay are known and not read."""
        for index, (seed, actions) in enumerate(self._history):
            if seed is not None:
                self._post("replay", (index, seed, actions))
                self._answer()  # if the worker has died again, receive() notices it at its next message

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
        if self._board is not None:
            self._board.close()


def serve(pipe: Connection, task: str, bins: int, num_envs: int, make_env: MakeEnv) -> None:
    """The loop of a worker: calls the method it is sent, writes the result to the board, and sends True.

    If an exception is raised, it sends the exception's text (an error that the user can mend: itself) and ends.
    """
    try:
        group = InlineGroup(task, bins, num_envs, make_env)
        pipe.send((group.spec, group.num_features))
        board = Board(num_envs, group.num_features, group.spec.num_slots, recv_handle(pipe))
        while True:
            method, argument = pipe.recv()
            answer = getattr(group, method)(board.arrays["action"] if method == "step" else argument)
            if method == "step":
                for name, values in zip(ANSWER, answer, strict=True):
                    board.arrays[name][:] = values
            elif method == "reset":
                board.arrays["observation"][:] = answer
            elif method == "reset_one":
                board.arrays["observation"][argument[0]] = answer
            pipe.send(True)
    except (EOFError, KeyboardInterrupt):
        pass  # the parent closed its end of the pipe: the worker ends
    except UserError as error:
        pipe.send(error)
    except Exception as error:  # the parent raises an error with this text
        pipe.send(repr(error))
