"""Measures how fast policies are played: `python -m benchmarks.evaluation --tasks=cheetah_run,dog_trot --json=FILE`.

Environment steps a second of `--episodes` episodes with SPIN's policy in its published size, played in three ways: one
state after another; all episodes in one batched call, with the environments in this process; the same with the
environments in worker processes. --eager (needs torch) adds the published style, one state after another through eager
PyTorch. Interleaved; each measurement plays the first `--steps` steps of every episode.

A task of pure functions (--tasks=maze --steps=150, --tasks=structured --steps=20) is also played in one compiled
program, as its evaluation is: whole episodes, each as long as the longest.
"""

import contextlib
import functools
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from benchmarks.measure import interleave, settings, spread, write
from spin_jax import command
from spin_jax.config.auto import worker_processes
from spin_jax.config.sections import RunConfig
from spin_jax.envs.pure import seed_data
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.vector import VectorEnv, episode_seed
from spin_jax.evaluation.evaluator import batched_act
from spin_jax.evaluation.on_device import make_roll_out
from spin_jax.from_config import make_learner, make_policy
from spin_jax.record.progress import log, setup_logging
from spin_jax.registry import ENVS, PURE_ENVS
from spin_jax.stages.estimate import random_frozen
from spin_jax.training.seeds import ONE
from spin_jax.types import ActionSpec, identity_normaliser


def eager_act(run: RunConfig, num_features: int, spec: ActionSpec) -> Callable[[np.ndarray], np.ndarray]:
    """act(observation [B, S]) -> sampled actions [B, N] of the eager policy in PyTorch."""
    import torch

    from benchmarks.eager_reference import eager_policy

    policy = eager_policy(run, spec, num_features).eval()

    def act(observation):
        with torch.no_grad():
            logits = policy.logits(torch.from_numpy(observation))
            return torch.stack([torch.distributions.Categorical(logits=x).sample() for x in logits], 1).numpy()

    return act


def measures(open_envs: Callable, task: str, policy: str, episodes: int, steps: int, workers: int, eager: bool) -> dict:
    """{name: function that plays `steps` steps of `episodes` episodes}.

    open_envs registers the environments, so that the caller closes them.
    """
    run = settings(task, policy=policy)
    num_features, make_env = TASKS[run.task].num_features, ENVS[run.task]
    single = open_envs(VectorEnv(run.task, run.bins, 1, 0, make_env))
    learner = make_learner(run, make_policy(run, single.spec), single.spec)
    frozen = random_frozen(run, single.spec, num_features)
    state = learner.init(jax.random.key(0), frozen, np.zeros((1, num_features), np.float32))
    jitted, key = jax.jit(learner.act), jax.random.key(0)
    seeds = [episode_seed(0, i) for i in range(episodes)]

    def act(observation):
        return np.asarray(jitted(state, frozen, observation, key))

    def play(envs: VectorEnv, seeds, act=act):
        observation = envs.reset(seeds)
        for _ in range(steps):
            observation, *_ = envs.step(act(observation))

    def one_by_one(act=act):
        for seed in seeds:
            play(single, [seed], act)

    inline, remote = (open_envs(VectorEnv(run.task, run.bins, episodes, n, make_env)) for n in (0, workers))
    found = {
        "one state at a time": one_by_one,
        "batched": lambda: play(inline, seeds),
        f"batched, {workers} workers": lambda: play(remote, seeds),
    }
    if run.task in PURE_ENVS:
        roll_out = jax.jit(make_roll_out(PURE_ENVS[run.task](run.task), batched_act(learner.act, ONE, greedy=False)))
        fixed, data = (state, frozen, identity_normaliser(num_features)), np.stack([seed_data(seed) for seed in seeds])
        found["one compiled program"] = lambda: np.asarray(roll_out(data, fixed, key, 0))
    if eager:
        slow = eager_act(run, num_features, single.spec)
        found = {"one state at a time, eager PyTorch": functools.partial(one_by_one, slow)} | found
    return found


def main(_: list[str]) -> None:
    setup_logging()
    rows, workers = [], FLAGS.workers or max(1, worker_processes(-1))
    for task in FLAGS.tasks:
        log.info(f"{task}: making environments")
        with contextlib.ExitStack() as stack:
            sizes = FLAGS.episodes, FLAGS.steps, workers
            playing = measures(stack.enter_context, task, FLAGS.policy, *sizes, FLAGS.eager)
            found = interleave(playing, FLAGS.rounds)
        single = np.median(found["one state at a time"])
        for name, seconds in found.items():
            rates = FLAGS.episodes * FLAGS.steps / np.asarray(seconds)
            row = {"task": task, "policy": FLAGS.policy, "mode": name, "times": round(single / np.median(seconds), 3)}
            rows.append(row | spread(rates, 1))
    print(f"{FLAGS.policy}, {FLAGS.episodes} episodes, environment steps a second, {FLAGS.rounds} rounds")
    print("| task | | median (min–max) | times |\n|---|---|---|---|")
    for r in rows:
        print(f"| {r['task']} | {r['mode']} | {r['median']:.0f} ({r['min']:.0f}–{r['max']:.0f}) | {r['times']:.2f} |")
    write(FLAGS.json, episodes=FLAGS.episodes, steps=FLAGS.steps, rounds=FLAGS.rounds, rows=rows)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_list("tasks", ["cheetah_run", "dog_trot"], "tasks to play")
    flags.DEFINE_string("policy", "spin", "policy to play")
    flags.DEFINE_integer("episodes", 10, "episodes at once", lower_bound=1)
    flags.DEFINE_integer("steps", 100, "control steps of each episode in one measurement", lower_bound=1)
    flags.DEFINE_integer("workers", 0, "environment processes; 0 = one a core", lower_bound=0)
    flags.DEFINE_bool("eager", False, "also eager PyTorch")
    flags.DEFINE_integer("rounds", 5, "measurements of each", lower_bound=1)
    flags.DEFINE_string("json", "", "also write the result to this file")
    command.run(main)
