"""Facts of the six tasks of the factorised DM Control suite (Beeson, Ireland, Montana, TMLR 2024)."""

from typing import NamedTuple

from spin_jax.types import ActionSpec

EPISODE_STEPS = 1000  # control steps; none of these tasks terminates early


class Task(NamedTuple):
    """Facts of one task, and the suite's published reference returns (undiscounted, of EPISODE_STEPS steps)."""

    domain: str
    task: str
    num_features: int  # S
    num_slots: int  # N
    random_return: float
    expert_return: dict[int, float]  # number of bins -> return

    def spec(self, bins: int) -> ActionSpec:
        """The joint actions with `bins` choices in every slot."""
        return ActionSpec((bins,) * self.num_slots)


TASKS = {
    "finger_spin": Task("finger", "spin", 9, 2, 4.36, {3: 853.62}),
    "fish_swim": Task("fish", "swim", 24, 5, 72.32, {3: 418.58}),
    "cheetah_run": Task("cheetah", "run", 17, 6, 5.39, {3: 664.57}),
    "quadruped_walk": Task("quadruped", "walk", 78, 12, 121.37, {3: 781.19}),
    "humanoid_stand": Task("humanoid", "stand", 67, 21, 4.54, {3: 711.90}),
    "dog_trot": Task(
        "dog", "trot", 223, 38, 7.32, {3: 724.37, 10: 736.95, 30: 768.24, 50: 752.58, 75: 803.05, 100: 756.86}
    ),
}
