"""Holds off-policy evaluation against the simulator: `python -m benchmarks.off_policy --root=DIR`.

Trains factored policies with IQL and by cloning on every level of a task, on all but the worst, and on all together,
keeps each at two steps, and judges all of them on ONE log (all levels) as `--stage=ope` would. Their true values are
the discounted returns of episodes in the simulator. Prints a table, Spearman's rank correlation, regret@1 (how much
worse the policy that looks best is than the best one) and the mean absolute error; writes JSON. Rerunning the command
resumes.
"""

import itertools
import json
import pathlib

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from scipy.stats import spearmanr

from benchmarks.measure import write
from spin_jax import command
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.config.sections import RunConfig
from spin_jax.envs.tasks import TASKS, family
from spin_jax.envs.vector import VectorEnv, play_episodes
from spin_jax.evaluation.behaviour import clone_behaviour
from spin_jax.evaluation.evaluator import evaluation_seed
from spin_jax.evaluation.off_policy import fitted_value
from spin_jax.record.files import write_json
from spin_jax.record.progress import setup_logging
from spin_jax.record.workdir import Workdir
from spin_jax.registry import ENVS
from spin_jax.run import get_config
from spin_jax.run import run as run_stages
from spin_jax.stages.make_data import load_data
from spin_jax.stages.members import members
from spin_jax.stages.off_policy import Target, judged, logs, trained, uniform

LEARNERS = ("iql", "bc")


def levels() -> list[str]:
    """The levels that policies are trained on; the last one, all levels, is also the log that judges."""
    stored = TASKS[FLAGS.task].levels
    return [*stored, "+".join(stored[1:]), "+".join(stored)]


def settings(level: str, learner: str) -> tuple[RunConfig, ConfigDict]:
    """A run of preset quick, and its resolved configuration."""
    config = get_config(f"{family(FLAGS.task)}:{FLAGS.preset}")
    steps = FLAGS.steps
    config.update(task=FLAGS.task, policy="factored", learner=learner)
    config.data.update(level=level, dir=FLAGS.data_dir)
    config.train.update(num_steps=steps, checkpoint_every_steps=steps // 5, keep_policies=5)
    config.eval.update(every_steps=steps, episodes=2)
    if FLAGS.gamma:
        config.ope.gamma = FLAGS.gamma
    config = resolve(config)
    return build(config), config


def train(root: pathlib.Path) -> list[tuple[str, Target]]:
    """The targets: every run's policies at a fifth of its steps and at the end."""
    found = []
    for level, learner in itertools.islice(itertools.product(levels(), LEARNERS), FLAGS.first):
        run, config = settings(level, learner)
        workdir = root / f"{level}-{learner}"
        run_stages(config, str(workdir), ("data", "policy"))
        targets = trained(run, members(run, Workdir(str(workdir), config)), load_data(run))
        early = next(t for t in targets if t.name.endswith(f"step {run.train.num_steps // 5}"))
        found += [(f"{level}, {learner}, {name}", t) for name, t in (("early", early), ("end", targets[-1]))]
    return found


def true_value(run: RunConfig, target: Target) -> tuple[float, float]:
    """(discounted, undiscounted) mean return of episodes in the simulator."""
    act, key = jax.jit(target.act), jax.random.key(7)
    with VectorEnv(run.task, run.bins, run.eval.final_episodes, run.eval.num_workers, ENVS[run.task]) as envs:
        episodes = play_episodes(
            envs,
            lambda observation, t: np.asarray(act(observation, jax.random.fold_in(key, t))),
            [evaluation_seed(0, i) for i in range(run.eval.final_episodes)],
        )
    gamma = run.ope.gamma
    discounted = [(gamma ** np.arange(len(e.reward)) * e.reward).sum() for e in episodes]
    return float(np.mean(discounted)), float(np.mean([e.reward.sum() for e in episodes]))


def summary(rows: list[dict]) -> dict:
    """Agreement of the estimates with the truth; the ranking puts unsupported policies last."""
    true, estimate = (np.array([row[name] for row in rows]) for name in ("true", "mean"))
    supported = np.array([row["supported"] for row in rows])
    ranking = np.where(supported, estimate, estimate.min() - 1)
    return {
        "policies": len(rows),
        "supported": int(supported.sum()),
        "spearman": float(spearmanr(true, estimate)[0]),
        "spearman_supported": float(spearmanr(true[supported], estimate[supported])[0]),
        "regret_at_1": float(true.max() - true[ranking.argmax()]),
        "mean_absolute_error": float(np.abs(true - estimate).mean()),
        "spread_of_truth": float(np.ptp(true)),
    }


def table(rows: list[dict]) -> str:
    """A Markdown table, the best policy in the simulator first."""
    lines = ["| policy | return | discounted | estimate | 95 % | verdict |", "|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: -r["true"]):
        interval = f"{row['low']:.1f} to {row['high']:.1f}"
        words = "supported" if row["supported"] else "not supported"
        lines.append(
            f"| {row['policy']} | {row['return']:.0f} | {row['true']:.1f} | {row['mean']:.1f} | {interval} | {words} |"
        )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    setup_logging()
    root = pathlib.Path(FLAGS.root).expanduser().absolute()
    targets, (run, _) = train(root), settings(levels()[-1], "iql")
    dataset, key = load_data(run), jax.random.key(0)
    fitted, measured = logs(run, dataset)
    spec, scale, asm = dataset.spec, dataset.normaliser, run.asm.model
    behaviour = clone_behaviour(fitted, measured, spec, scale, asm, run.ope.clone_steps, key)
    clone = Target("", behaviour.act, behaviour.probabilities)
    theirs = clone.marginals(measured.data.observation, spec, key)
    targets += [("behaviour, cloned", clone), ("uniform", uniform(spec))]
    rows = []
    for name, target in targets:
        path = root / f"judged_{run.ope.gamma:g}" / f"{name.replace(', ', '_').replace(' ', '_')}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            true, undiscounted = true_value(run, target)
            value = fitted_value(target.act, fitted, measured, spec, scale, run.ope, key, name)
            facts = judged(target, theirs, fitted, measured, dataset, run.ope.gamma, key)
            write_json(path, {"policy": name, "true": true, "return": undiscounted, **value._asdict(), **facts})
        rows.append(json.loads(path.read_text()))
    found = summary(rows)
    print(table(rows))
    print(", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    unseen = measured.unseen_share(run.ope.gamma)
    if unseen > 0.01:
        print(f"Estimates go on behind the time limit of the episodes, where up to {unseen:.0%} of a return lies.")
    write(FLAGS.json, task=FLAGS.task, gamma=run.ope.gamma, unseen_share=unseen, summary=found, policies=rows)


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_string("root", None, "folder of the runs", required=True)
    flags.DEFINE_enum("task", "cheetah_run", list(TASKS), "task")
    flags.DEFINE_string("preset", "quick", "preset of the configuration")
    flags.DEFINE_integer("steps", 5000, "gradient steps of each policy; a multiple of 5", lower_bound=5)
    flags.register_validator("steps", lambda steps: steps % 5 == 0, message="it must be a multiple of 5")
    flags.DEFINE_float(
        "gamma", None, "discount of the values; default: the preset's", lower_bound=0.01, upper_bound=0.9999
    )
    flags.DEFINE_integer("first", None, "only the first runs of the list", lower_bound=1)
    flags.DEFINE_string("data_dir", "~/tensorflow_datasets", "where TFDS data sets are kept")
    flags.DEFINE_string("json", None, "write the results there")
    command.run(main)
