"""Facts of the simulated tasks."""

import dataclasses
from typing import NamedTuple

from spin_jax.envs.structured_names import LISTED, ByTask, is_structured, knobs_of
from spin_jax.types import ActionSpec

EPISODE_STEPS = 1000  # of the factorised DM Control suite


class Task(NamedTuple):
    """Facts of a simulated task.

    references: number of bins -> (random, expert) undiscounted returns of an episode, as published; empty if nobody
    published any.
    """

    num_features: int  # S
    slots: int | tuple[int, ...]  # N slots with `bins` choices each, or the number of choices of each slot
    episode_steps: int  # most control steps of an episode; only the mazes end earlier, at their goal
    references: dict[int, tuple[float, float]]
    levels: tuple[str, ...] = ("random", "medium", "expert")  # of its behaviour policies: the splits of our own log

    def spec(self, bins: int) -> ActionSpec:
        """The joint actions; bins: choices of every slot, where the task does not fix them."""
        return ActionSpec((bins,) * self.slots if isinstance(self.slots, int) else self.slots)

    @property
    def num_slots(self) -> int:
        """N."""
        return self.slots if isinstance(self.slots, int) else len(self.slots)

    def reference_returns(self, bins: int) -> tuple[float, float] | None:
        """(random, expert) as published; those of 3 bins if there are none for `bins`; None if there are none."""
        return self.references.get(bins, self.references.get(3))


# The factorised DM Control suite (Beeson, Ireland, Montana, TMLR 2024). The references are those of the suite's code
# (dmc_datasets, SCORES), because its normalised scores are computed with them. Its article has other values for two of
# them: random of quadruped-walk 121.37, random of dog-trot 7.32 for every number of bins. One value of the code is not
# used: expert of dog-trot with 30 bins, 681.14, repeats that of quadruped-walk with 30 bins; the article's 768.24
# stands here.
DM_CONTROL = {
    "finger_spin": Task(9, 2, EPISODE_STEPS, {3: (4.36, 853.62)}),
    "fish_swim": Task(24, 5, EPISODE_STEPS, {3: (72.32, 418.58)}),
    "cheetah_run": Task(17, 6, EPISODE_STEPS, {3: (5.39, 664.57)}),
    "quadruped_walk": Task(
        78,
        12,
        EPISODE_STEPS,
        {3: (121.31, 781.19), 10: (108.05, 856.08), 30: (120.85, 681.14), 50: (113.6, 683.18)},
    ),
    "humanoid_stand": Task(67, 21, EPISODE_STEPS, {3: (4.54, 711.90)}),
    "dog_trot": Task(
        223,
        38,
        EPISODE_STEPS,
        {
            3: (7.32, 724.37),
            10: (6.48, 736.95),
            30: (6.39, 768.24),
            50: (6.10, 752.58),
            75: (6.31, 803.05),
            100: (6.14, 756.86),
        },
    ),
}
# Traffic signals in SUMO: the choices of a signal are its green phases (envs/traffic.py).
PHASES = (4, 3, 2, 6, 2, 4, 4, 3, 3)
RULES = ("random", "fixed_time", "pressure", "longest_queue")
# Mazes, named by their actuators (envs/maze.py); the published return is 99.2 to 99.4 of experts, and from -1.8 (3
# actuators) to -7.5 (15) of uniform actions, not given for every size
MAZES = {f"maze_{n}": Task(2, (2,) * n, 150, {}) for n in range(3, 16)}
# Structured problems (envs/structured.py), named by their knobs; what the behaviour returns is computed
# (collect/structured_levels.py)
STRUCTURED = Task(10, knobs_of(LISTED).cardinalities, 20, {})


class _Tasks(ByTask[Task]):
    """The facts of all tasks by name; those of structured problems differ in their slots."""

    def __missing__(self, task: str) -> Task:
        return super().__missing__(task)._replace(slots=knobs_of(task).cardinalities)


TASKS = _Tasks(
    {
        **DM_CONTROL,
        **MAZES,
        LISTED: STRUCTURED,
        "traffic": Task(3 * sum(PHASES) + len(PHASES), PHASES, 180, {}, RULES),
    }
)


def family(task: str) -> str:
    """The name of a task without its size, which is that of its file in configs/: maze for maze_7."""
    if is_structured(task):
        return "structured"
    return "maze" if task in MAZES else task


def flags_of(task: str, preset: str = "") -> str:
    """The flags of main.py that choose a task: its file in configs/, with a preset or without, and its size."""
    knobs: dict[str, object] = {"actuators": TASKS[task].num_slots} if task in MAZES else {}
    if is_structured(task):
        knobs = dataclasses.asdict(knobs_of(task))
    name = family(task)
    size = "".join(f" --config.{name}.{knob}={value}" for knob, value in knobs.items())
    return f"--config=configs/{name}.py{':' if preset else ''}{preset}{size}"
