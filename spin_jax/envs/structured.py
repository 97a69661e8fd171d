"""A ladder of states in which a few joint actions are right, with a knob for how much the slots depend on each other.

A state is a height on a ladder, 0 to HEIGHTS - 1. Each height has M right joint actions ("patterns"), no two of which
have a choice in common. A joint action scores

    q(s, a) = (1 - d) * share of the slots whose choice is in any pattern of s + d * [a is a pattern of s]

where d is the dependence. A step climbs one height with probability q and otherwise falls to half the height, rounded
down. It pays height / (HEIGHTS - 1), of where it ends. So an action pays only by what it leads to. An episode starts at
any height, and a time limit ends it after 20 steps.

At d = 0 the slots can be chosen one by one. At d = 1 only a whole pattern climbs. A product of distributions that has
learned all patterns of a state mixes them: with every slot's choice drawn from a pattern of its own, the action is a
pattern with probability M^(1 - N).

Score and value do not conflict: q = 1 is best everywhere, and playing any pattern reaches it. `expected_return` has the
return of every policy that climbs with the same probability from every height. The observation (S = 10) is a corner of
the cube {-1, 1}^S, one for each height, plus noise of at most 0.5 in each feature. Heights are told apart by its signs.

Everything that is drawn is a whole number, so an episode is the same to the last bit on every device. The patterns
depend on slots and choices alone: problems of another dependence or coverage have the same.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from spin_jax.envs.pure import HostEnv, PureEnv
from spin_jax.envs.structured_names import knobs_of
from spin_jax.envs.tasks import STRUCTURED, TASKS

HEIGHTS = 8
CERTAIN = 2**24  # the unit of probabilities
GRAIN = 2**10  # units of noise in 1
COLOURS = {"right": "#2da44e", "wrong": "#d0d7de", "here": "#0969da", "text": "#24292f"}


class StructuredState(NamedTuple):
    """height, int32; steps: those that were made; observation [S] float32, with the noise of this step."""

    height: jax.Array
    steps: jax.Array
    observation: jax.Array


@functools.cache
def patterns(cardinalities: tuple[int, ...], num_patterns: int) -> np.ndarray:
    """[HEIGHTS, M, N]: the right joint actions of each height."""
    rng = np.random.default_rng(0)
    chosen = [[rng.permutation(k)[:num_patterns] for k in cardinalities] for _ in range(HEIGHTS)]
    return np.array(chosen).transpose(0, 2, 1)


@functools.cache
def centres() -> np.ndarray:
    """[HEIGHTS, S] in {-1, 1}: the observation of each height without noise."""
    corners = np.random.default_rng(0).permutation(2**STRUCTURED.num_features)[:HEIGHTS]
    return 2.0 * (corners[:, None] >> np.arange(STRUCTURED.num_features) & 1) - 1


def heights(observation: np.ndarray) -> np.ndarray:
    """[B]: the height that each observation [B, S] is of."""
    return (np.sign(observation) @ centres().T).argmax(-1)


def expected_return(climb: float) -> float:
    """The mean return of an episode in which every step climbs with this probability, by dynamic programming.

    The optimum is that of climb = 1.
    """
    up, down = np.minimum(np.arange(HEIGHTS) + 1, HEIGHTS - 1), np.arange(HEIGHTS) // 2
    pay, value = np.arange(HEIGHTS) / (HEIGHTS - 1), np.zeros(HEIGHTS)
    for _ in range(STRUCTURED.episode_steps):
        value = climb * (pay + value)[up] + (1 - climb) * (pay + value)[down]
    return float(value.mean())


@functools.cache
def make_structured(task: str) -> PureEnv:
    """The problem of a task's name, such as structured_8x4_0.5_1.0 (structured_names.py)."""
    facts, knobs = TASKS[task], knobs_of(task)
    right, centre = patterns(knobs.cardinalities, knobs.num_patterns), centres().astype(np.float32)
    share = np.arange(knobs.slots + 1) / knobs.slots
    score = [(1 - knobs.dependence) * share + knobs.dependence * whole for whole in (0, 1)]
    climbs = np.round(CERTAIN * np.array(score)).astype(np.uint32)  # [whole pattern, slots that are right]
    pays = (np.arange(HEIGHTS) / (HEIGHTS - 1)).astype(np.float32)

    def state(height, steps, bits):
        noise = ((bits % (GRAIN + 1)).astype(jnp.int32) - GRAIN // 2).astype(jnp.float32) / GRAIN
        return StructuredState(height, steps, jnp.asarray(centre)[height] + noise)

    def reset(key):
        bits = jax.random.bits(key, (facts.num_features + 1,), jnp.uint32)
        return state((bits[0] % HEIGHTS).astype(jnp.int32), jnp.int32(0), bits[1:])

    def step(before, action, key):
        bits = jax.random.bits(key, (facts.num_features + 1,), jnp.uint32)
        same = jnp.asarray(right)[before.height] == action[None, :]
        climb = jnp.asarray(climbs)[same.all(1).any().astype(jnp.int32), same.any(0).sum()]
        up, down = jnp.minimum(before.height + 1, HEIGHTS - 1), before.height // 2
        after = state(jnp.where(bits[0] % CERTAIN < climb, up, down), before.steps + 1, bits[1:])
        return after, jnp.asarray(pays)[after.height], jnp.bool_(False), after.steps >= facts.episode_steps

    return PureEnv(facts.spec(2), facts.num_features, reset, step, lambda state: state.observation)


class StructuredEnv(HostEnv):
    """The problem behind the Env protocol (envs.base.Env); `bins` has no meaning: the name has the choices."""

    def __init__(self, task: str, bins: int):
        super().__init__(make_structured(task))
        knobs = knobs_of(task)
        self._patterns = patterns(knobs.cardinalities, knobs.num_patterns)
        self._acted: tuple[int, np.ndarray | None] = (0, None)

    def reset(self, seed: int) -> np.ndarray:
        observation = super().reset(seed)
        self._acted = int(self._state.height), None
        return observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        self._acted = int(self._state.height), np.asarray(action)
        return super().step(action)

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """[height, width, 3] uint8: the ladder and, of the last step, the patterns above the action that was played.

        A rung is blue where the state is now. A choice that is in a pattern, and where the action has it, is green.
        """
        picture = Image.new("RGB", (width, height), "white")
        draw, (at, action) = ImageDraw.Draw(picture), self._acted
        rung = height / HEIGHTS
        for i in range(HEIGHTS):
            top, here = height - (i + 1) * rung, i == self._state.height
            draw.rectangle((2, top + 2, width / 8, top + rung - 3), fill=COLOURS["here" if here else "wrong"])
        right = self._patterns[at]
        hits = np.zeros_like(right, bool) if action is None else right == action
        rows, greens = [*right], [*hits]
        if action is not None:
            rows, greens = [*rows, action], [*greens, hits.any(0)]
        wide, tall = (width * 7 / 8 - 12) / right.shape[1], height / (len(right) + 2)
        for row, (choices, green) in enumerate(zip(rows, greens, strict=True)):
            played = row == len(right)  # below an empty line
            for slot, choice in enumerate(choices):
                left, top = width / 8 + 10 + slot * wide, (row + played) * tall
                colour = COLOURS["right" if green[slot] else "wrong"]
                draw.rectangle((left, top + 1, left + wide - 2, top + tall - 2), fill=colour)
                if wide > 14 and tall > 10:
                    draw.text((left + 2, top + 1), str(choice), fill=COLOURS["text"])
        return np.asarray(picture)
