"""Facts of the six tasks of the factorised DM Control suite (Beeson, Ireland, Montana, TMLR 2024)."""

from typing import NamedTuple

from spin_jax.types import ActionSpec

EPISODE_STEPS = 1000  # control steps; none of these tasks terminates early


class Task(NamedTuple):
    """Facts of one task, and the suite's published reference returns (undiscounted, of EPISODE_STEPS steps).

    references: number of bins -> (random, expert). They are those of the suite's code (dmc_datasets, SCORES), because
    its normalised scores are computed with them. Its article has other values for two of them: random of quadruped-walk
    121.37, random of dog-trot 7.32 for every number of bins. One value of the code is not used: expert of dog-trot with
    30 bins, 681.14, repeats that of quadruped-walk with 30 bins; the article's 768.24 stands here.
    """

    domain: str
    task: str
    num_features: int  # S
    num_slots: int  # N
    references: dict[int, tuple[float, float]]

    def spec(self, bins: int) -> ActionSpec:
        """The joint actions with `bins` choices in every slot."""
        return ActionSpec((bins,) * self.num_slots)


TASKS = {
    "finger_spin": Task("finger", "spin", 9, 2, {3: (4.36, 853.62)}),
    "fish_swim": Task("fish", "swim", 24, 5, {3: (72.32, 418.58)}),
    "cheetah_run": Task("cheetah", "run", 17, 6, {3: (5.39, 664.57)}),
    "quadruped_walk": Task(
        "quadruped",
        "walk",
        78,
        12,
        {3: (121.31, 781.19), 10: (108.05, 856.08), 30: (120.85, 681.14), 50: (113.6, 683.18)},
    ),
    "humanoid_stand": Task("humanoid", "stand", 67, 21, {3: (4.54, 711.90)}),
    "dog_trot": Task(
        "dog",
        "trot",
        223,
        38,
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
