"""Train SPIN from a log: `python main.py --config=configs/cheetah_run.py:quick --workdir=DIR`.

Stages: data (make or find the log), pretrain (Algorithm 1), policy (Algorithm 2), evaluate. The same command goes on
where a killed one was.
"""

import os
import sys

from absl import app, flags
from ml_collections import config_flags

STAGES = ("data", "pretrain", "policy", "evaluate")
FLAGS = flags.FLAGS


def run(config, workdir_path: str, stages: tuple[str, ...]) -> None:
    if config.eval.video:
        os.environ.setdefault("MUJOCO_GL", "egl")  # read once, when dm_control is first imported
    import jax

    from spin_jax import config as settings
    from spin_jax import data_stage, report
    from spin_jax.metrics import setup_logging
    from spin_jax.pretrain_asm import pretrain_asm
    from spin_jax.train_policy import evaluate_policy, train_policy
    from spin_jax.workdir import Workdir

    jax.config.update("jax_numpy_rank_promotion", "raise")
    setup_logging()
    config = settings.resolve(config)
    run = settings.build(config)
    workdir = Workdir(workdir_path, config)
    if "data" in stages:
        data_stage.make_data(run, workdir)
    if stages == ("data",):
        return
    dataset, spec = data_stage.load_data(run)
    if "pretrain" in stages:
        pretrain_asm(run, workdir, dataset, spec)
    if "policy" in stages:
        train_policy(run, workdir, dataset, spec)
    if "evaluate" in stages:
        evaluate_policy(run, workdir, dataset, spec)
        report.report(run, workdir, dataset, spec)


def main(_):
    stages = STAGES if FLAGS.stage == "all" else (FLAGS.stage,)
    try:
        run(FLAGS.config, FLAGS.workdir, stages)
    except Exception as error:
        from spin_jax.errors import USER_ERRORS

        if not isinstance(error, USER_ERRORS):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "configuration file, with a preset after a colon")
    flags.DEFINE_string("workdir", None, "directory of this run: checkpoints, metrics, results", required=True)
    flags.DEFINE_enum("stage", "all", ["all", *STAGES], "what to run")
    flags.mark_flag_as_required("config")
    app.run(main)
