"""Traffic signals in SUMO: each slot is a signal, its choices are the signal's green phases (2 to 6 of them).

A control step simulates STEP_SECONDS. A signal that changes its phase first shows yellow for YELLOW_SECONDS of them to
the movements that lose their green. An episode begins with an empty network and has 180 steps (30 minutes); a time
limit ends it. SUMO takes all randomness, who enters when and who drives how fast, from the seed of the reset.

Observation (S = 3 P + N features for P phases of all N signals together), scaled to about [0, 1]:

- waiting [P]: vehicles that stand and that the phase would let go, divided by VEHICLES. A lane with movements of
  several phases counts for each of them in part (traffic_network.Network.waiting).
- ahead [P]: the same for the lanes that those vehicles would go to.
- phase [P]: 1 for the phase that a signal shows, 0 for its others.
- age [N]: seconds since a signal changed its phase, divided by AGE_SECONDS, at most 1.

The reward is minus the seconds that vehicles stand in the step, divided by the expected number of vehicles in an
episode. So the return is about minus the mean waiting time of a vehicle in seconds. It counts those that stand (below
0.1 m/s) at the end of the step, times STEP_SECONDS, and also those that still wait to enter. SUMO moves a vehicle that
has stood for five minutes to its next free road (its default, a way out of deadlocks).

SUMO runs in a child process for each environment and talks TraCI. Its in-process variant, libsumo, was 1.2 to 2.7
times as fast, but holds only one simulation in a process, and is built against another version of Arrow than pyarrow.
"""

import contextlib
import io
import socket
import subprocess
import weakref
from typing import Any, NamedTuple

import numpy as np

from spin_jax.envs.tasks import TASKS
from spin_jax.envs.traffic_network import demand_rate, load_network, sumo_program
from spin_jax.errors import SimulatorError
from spin_jax.types import ActionSpec

STEP_SECONDS, YELLOW_SECONDS = 10, 3
VEHICLES, AGE_SECONDS = 20, 120
STARTS = 3  # attempts to start SUMO; another program may take the free port that was found for it
SECONDS_TO_START = 60


class View(NamedTuple):
    """The parts of observations [B, S] by signal; phases that a signal does not have are -inf (phase: 0)."""

    waiting: np.ndarray  # [B, N, K]
    ahead: np.ndarray  # [B, N, K]
    phase: np.ndarray  # [B, N, K]
    age: np.ndarray  # [B, N]


def view(observation: np.ndarray, spec: ActionSpec) -> View:
    """The View of observations [B, S]."""
    total = sum(spec.cardinalities)

    def padded(part, fill):
        values = np.full((len(observation), *spec.valid.shape), fill, np.float32)
        values[:, spec.valid] = part
        return values

    waiting, ahead, phase, age = np.split(observation, [total, 2 * total, 3 * total], axis=-1)
    return View(padded(waiting, -np.inf), padded(ahead, -np.inf), padded(phase, 0.0), age)


def yellow(now: str, following: str) -> str:
    """The state between two phases: yellow for movements that lose their green, the others as they are."""
    return "".join("y" if a in "Gg" and b == "r" else a for a, b in zip(now, following, strict=True))


class TrafficEnv:
    """Task `traffic` (envs.base.Env); `bins` has no meaning here: the network says how many choices a slot has.

    Raises SimulatorError if SUMO is not installed, does not start, or generates another network.
    """

    sumo_options: tuple[str, ...] = ()  # more options of SUMO, from the next reset on

    def __init__(self, task: str, bins: int):
        facts = TASKS[task]
        self.spec, self.num_features, self._episode_steps = facts.spec(bins), facts.num_features, facts.episode_steps
        self.network = load_network()
        self._connection, self._process = start_sumo(["--net-file", str(self.network.net)])
        self._stop = weakref.finalize(self, _stop, self._connection, self._process)
        self._signals = [signal.junction for signal in self.network.signals]
        self._expected = demand_rate(self.network) * self._episode_steps * STEP_SECONDS  # vehicles in an episode

    def reset(self, seed: int) -> np.ndarray:
        from traci import constants

        sumo_seed = int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)  # SUMO reads 31 bits
        self._connection.load(
            [*QUIET, "--net-file", str(self.network.net), "--route-files", str(self.network.demand)]
            + ["--seed", str(sumo_seed), *self.sumo_options]
        )
        for lane in self.network.lanes:
            self._connection.lane.subscribe(lane, [constants.LAST_STEP_VEHICLE_HALTING_NUMBER])
        self._connection.simulation.subscribe([constants.VAR_PENDING_VEHICLES])
        self.phases = np.zeros(self.spec.num_slots, int)
        self._age = np.zeros(self.spec.num_slots)
        self._steps, self.standing, self.outside = 0, np.zeros(len(self.network.lanes), int), 0
        self._show([signal.phases[0] for signal in self.network.signals])
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        changed, begin = action != self.phases, float(self._steps * STEP_SECONDS)
        greens = [s.phases[k] for s, k in zip(self.network.signals, action, strict=True)]
        if changed.any():
            before = [s.phases[k] for s, k in zip(self.network.signals, self.phases, strict=True)]
            self._show([yellow(a, b) for a, b in zip(before, greens, strict=True)])
            self._connection.simulationStep(begin + YELLOW_SECONDS)
            self._show(greens)
        self._connection.simulationStep(begin + STEP_SECONDS)
        self.phases, self._steps = np.array(action), self._steps + 1
        self._age = np.where(changed, 0, self._age) + STEP_SECONDS
        self._count()
        reward = -STEP_SECONDS * (self.standing.sum() + self.outside) / self._expected
        return self._observe(), float(reward), False, self._steps == self._episode_steps

    @property
    def control_seconds(self) -> float:
        """Simulated seconds of a control step."""
        return float(STEP_SECONDS)

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """The network seen from above (traffic_picture.draw_network), [height, width, 3] uint8."""
        from spin_jax.envs.traffic_picture import picture

        return picture(self.network, self.standing, self.phases, height, width)

    def _show(self, states):
        for signal, state in zip(self._signals, states, strict=True):
            self._connection.trafficlight.setRedYellowGreenState(signal, state)

    def _count(self):
        """Reads how many vehicles stand on each lane [L], and how many wait outside to enter."""
        lanes = self._connection.lane.getAllSubscriptionResults()
        self.standing = np.array([next(iter(lanes[name].values())) for name in self.network.lanes])
        self.outside = len(next(iter(self._connection.simulation.getSubscriptionResults().values())))

    def _observe(self) -> np.ndarray:
        shown = (self.phases[:, None] == np.arange(self.spec.num_choices))[self.spec.valid]
        waiting, ahead = self.network.waiting @ self.standing, self.network.ahead @ self.standing
        age = np.minimum(self._age / AGE_SECONDS, 1)
        return np.concatenate([waiting / VEHICLES, ahead / VEHICLES, shown, age]).astype(np.float32)


QUIET = ["--no-step-log", "--no-warnings", "--duration-log.disable"]


def start_sumo(arguments: list[str]) -> tuple[Any, subprocess.Popen]:
    """Starts SUMO and returns (TraCI connection, process); raises SimulatorError if it does not start."""
    program = sumo_program("sumo")
    import traci

    for _ in range(STARTS):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        command = [program, *QUIET, *arguments, "--remote-port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # traci prints every attempt to connect
                wait = 0.02
                connection = traci.connect(port, round(SECONDS_TO_START / wait), "localhost", process, wait)
            connection.getVersion()  # answered as soon as SUMO has read its network
            return connection, process
        except (traci.exceptions.TraCIException, traci.exceptions.FatalTraCIError):
            process.kill()
            _, told = process.communicate()
    raise SimulatorError(f"SUMO does not start ({' '.join(command)}): {told.strip()}")


def _stop(connection: Any, process: subprocess.Popen):
    """Ends a SUMO that may already have ended."""
    with contextlib.suppress(Exception):  # traci's own errors and those of the socket
        connection.close(wait=False)
    try:
        process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
