"""Plans the starts of humanoid-stand's training: `python -m spin_jax.collect.humanoid_planner`.

Predictive sampling (Howell et al., 2022) with the simulator as its model: SAMPLES sequences of joint actions are made
by changing the last plan at random, the one with the highest score becomes the plan, and its first joint action is
played. So a humanoid stands up from the ground within seconds, which no random play does. Episodes of HumanoidLesson
begin in the states on its way.
"""

import pathlib

import numpy as np
from absl import flags

from spin_jax import command
from spin_jax.collect.humanoid_lesson import STARTS, lifted
from spin_jax.envs.dm_control import DMControlEnv
from spin_jax.envs.tasks import EPISODE_STEPS
from spin_jax.envs.vector import episode_seed
from spin_jax.fields import SEEDS
from spin_jax.record.files import replacing
from spin_jax.record.progress import Progress, log, setup_logging

SAMPLES, HORIZON, REPEAT = 32, 10, 2  # sequences, their joint actions, control steps that each is held
CHANGED = (0.05, 0.1, 0.2, 0.4)  # shares of a sequence that are drawn anew
WEIGHTS = np.append(np.ones(HORIZON - 2), [3.0, 3.0])  # of a sequence's joint actions
KEPT_EVERY = 4  # of an episode's states


def candidates(plan: np.ndarray, num_choices: int, rng: np.random.Generator) -> np.ndarray:
    """[SAMPLES, HORIZON, N]: the plan [HORIZON, N], and changes of it that last one to three joint actions each."""
    found = np.repeat(plan[None], SAMPLES, 0)
    for sequence in found[1:]:
        span = rng.integers(1, 4)
        shape = (-(-HORIZON // span), plan.shape[1])
        anew = np.repeat(rng.random(shape) < rng.choice(CHANGED), span, 0)[:HORIZON]
        drawn = np.repeat(rng.integers(0, num_choices, shape), span, 0)[:HORIZON]
        sequence[anew] = drawn[anew]
    return found


def score(env: DMControlEnv, state: tuple[np.ndarray, np.ndarray], sequence: np.ndarray) -> float:
    """Rewards of a sequence [HORIZON, N] from a state (qpos, qvel) on, and half of those of a lifted head."""
    env.place(*state)
    physics, found = env.physics, []
    for action in sequence:
        reward = np.mean([env.simulate(action) for _ in range(REPEAT)])
        found.append(reward + 0.5 * lifted(physics.head_height(), physics.torso_upright()))
    return float(np.average(found, weights=WEIGHTS))


def plan_episode(env: DMControlEnv, imagined: DMControlEnv, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Plays an episode by planning; returns its return and every state: qpos [T, ...], qvel [T, ...]."""
    env.reset(seed)
    rng, total, positions, velocities = np.random.default_rng(seed), 0.0, [], []
    plan = np.full((HORIZON, env.spec.num_slots), env.spec.num_choices // 2)
    for _ in range(EPISODE_STEPS // REPEAT):
        state = env.physics.data.qpos.copy(), env.physics.data.qvel.copy()
        sequences = candidates(plan, env.spec.num_choices, rng)
        plan = sequences[np.argmax([score(imagined, state, sequence) for sequence in sequences])]
        total += sum(env.step(plan[0])[1] for _ in range(REPEAT))
        plan = np.concatenate([plan[1:], plan[-1:]])
        positions.append(state[0])
        velocities.append(state[1])
    return total, np.stack(positions), np.stack(velocities)


def main(_: list[str]) -> None:
    setup_logging()
    env, imagined = DMControlEnv("humanoid_stand", 3), DMControlEnv("humanoid_stand", 3)
    found = []
    with Progress("humanoid planner", FLAGS.episodes, unit="episode", every_seconds=0) as progress:
        for i in range(FLAGS.episodes):
            total, *states = plan_episode(env, imagined, episode_seed(FLAGS.seed, i))
            found.append([each[::KEPT_EVERY] for each in states])
            log.info(f"episode {i}: return {total:.1f}")
            progress.update(i + 1)
    qpos, qvel = (np.concatenate(each).astype(np.float16) for each in zip(*found, strict=True))
    with replacing(pathlib.Path(FLAGS.out)) as file:
        np.savez_compressed(file, qpos=qpos, qvel=qvel)
    print(f"written: {FLAGS.out}, {len(qpos)} states")


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_integer("episodes", 4, "episodes of 1000 steps", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "seed", lower_bound=0, upper_bound=SEEDS)
    flags.DEFINE_string("out", str(STARTS), "file of the states")
    command.run(main)
