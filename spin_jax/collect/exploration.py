"""What the online training of behaviour policies plays in place of the greedy joint action."""

import numpy as np

HELD_STEPS = 10  # mean length of a hold
HELD_SLOTS = 0.5  # share of the slots that a hold takes


class Exploration:
    """Exploration of `num_envs` environments that play in lockstep.

    explore: p; in each step every slot is random with probability (p / N) / (p / N + 1 - p). hold: in each step an
    environment begins with this probability to hold random choices in about half of its slots, for a geometric number
    of steps (temporally extended exploration, Dabney et al., ICLR 2021; there all of the action is held). Every fourth
    environment never holds, so that the replay also has what the policy does by itself.
    """

    def __init__(self, num_envs: int, num_slots: int, num_choices: int, explore: float, hold: float):
        share = explore / num_slots
        self._share, self._hold, self._num_choices = share / (share + 1 - explore), hold, num_choices
        self._holds = np.arange(num_envs) % 4 != 3
        self._left = np.zeros(num_envs, int)  # steps that a hold still lasts
        self._slots = np.zeros((num_envs, num_slots), bool)
        self._choice = np.zeros((num_envs, num_slots), int)

    def uniform(self, rng: np.random.Generator) -> np.ndarray:
        """Random joint actions [num_envs, N]."""
        return rng.integers(0, self._num_choices, self._choice.shape)

    def __call__(self, greedy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The joint actions to play where the greedy ones are `greedy`, [num_envs, N]; advances the holds by a step."""
        action = np.where(rng.random(greedy.shape) < self._share, self.uniform(rng), greedy)
        begins = np.flatnonzero(self._holds & (self._left == 0) & (rng.random(len(greedy)) < self._hold))
        shape = len(begins), greedy.shape[1]
        self._left[begins] = rng.geometric(1 / HELD_STEPS, len(begins))
        self._slots[begins] = rng.random(shape) < HELD_SLOTS
        self._choice[begins] = rng.integers(0, self._num_choices, shape)
        held = (self._left > 0)[:, None] & self._slots
        self._left -= self._left > 0
        return np.where(held, self._choice, action)
