"""The command main.py, which is `spin-jax` where the package is installed: flags → configuration → stages."""

import contextlib
import importlib
import os
import pathlib
import sys
import types
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict, config_flags

from spin_jax import command
from spin_jax.errors import ConfigError
from spin_jax.stages import STAGES

if TYPE_CHECKING:
    from spin_jax.config.sections import RunConfig
    from spin_jax.logs.frame import LoggedDataset
    from spin_jax.record.workdir import Workdir

FLAGS = flags.FLAGS
PROMOTION = "jax_numpy_rank_promotion"


def run(
    config: ConfigDict,
    workdir_path: str,
    stages: Sequence[str],
    distributed: str = "off",
    others: Sequence[str] = (),
) -> dict | None:
    """Runs the stages; returns the results if `evaluate` or `ope` is one of them, else None.

    others: workdirs of policies that `ope` judges, too.
    """
    if config.eval.video:
        os.environ.setdefault("MUJOCO_GL", "egl")  # read once, when dm_control is first imported
    print(f"{config.task}: {config.policy} with {config.learner}, into {workdir_path}", file=sys.stderr, flush=True)
    import jax

    from spin_jax.record.processes import ended_by_sigterm, first, initialise, is_first
    from spin_jax.record.progress import setup_logging

    setup_logging()
    initialise(distributed)  # before any other use of JAX
    with contextlib.ExitStack() as held:  # what a caller in Python gets back as it was
        held.enter_context(ended_by_sigterm())
        from spin_jax.config.auto import resolve
        from spin_jax.config.build import build, stages_of
        from spin_jax.config.machine import check_machine
        from spin_jax.record.workdir import Workdir
        from spin_jax.training.compilation import keep_compilations

        held.callback(jax.config.update, PROMOTION, getattr(jax.config, PROMOTION))
        jax.config.update(PROMOTION, "raise")
        keep_compilations()
        setup_logging(quiet=not is_first())
        config = resolve(config)
        settings = build(config)
        check_machine(settings)
        workdir = Workdir(workdir_path, config)
        first(lambda: held.enter_context(workdir.locked()))
        left = stages_of(settings, stages)
        if others and "ope" not in left:
            raise ConfigError("--against names policies for stage ope to judge, and this run has no such stage.")
        return _run_stages(settings, workdir, left, others, reports={"evaluate", "ope"} & set(stages) != set())


def _run_stages(
    run: "RunConfig", workdir: "Workdir", stages: Sequence[str], others: Sequence[str], reports: bool
) -> dict | None:
    from spin_jax.export.against import against
    from spin_jax.record.processes import first, is_first
    from spin_jax.record.progress import log
    from spin_jax.report.results import report
    from spin_jax.stages.distill import distill
    from spin_jax.stages.estimate import announce
    from spin_jax.stages.evaluate_policy import evaluate_policy
    from spin_jax.stages.make_data import load_data, make_data
    from spin_jax.stages.off_policy import off_policy_evaluation
    from spin_jax.stages.pretrain_asm import pretrain_asm
    from spin_jax.stages.requirements import check_requirements, devices_of_rows
    from spin_jax.stages.train_policy import train_policy

    if "data" in stages:  # before the log is made
        check_requirements(run, workdir, stages)
    rolls_out = run.simulated and "data" in stages  # that takes long, and the estimate needs no log
    if rolls_out:
        announce(run, workdir, stages)
    if "data" in stages:
        first(lambda: make_data(run, workdir), "makes the log, if it is not there")
    if stages == ["data"]:
        return None
    dataset = load_data(run, devices_of_rows(run, stages))
    if "data" not in stages:  # what is wrong with the log comes first
        check_requirements(run, workdir, stages)
    judged = [against(path, dataset) for path in others] if is_first() else []  # refused now, not after training
    if not rolls_out:
        announce(run, workdir, stages)
    if "pretrain" in stages:
        pretrain_asm(run, workdir, dataset)
    if "distill" in stages:
        distill(run, workdir, dataset)
    if "policy" in stages:
        train_policy(run, workdir, dataset)
    if not reports:
        return None

    def judge_and_report():
        if "evaluate" in stages:
            evaluate_policy(run, workdir, dataset)
        if "ope" in stages:
            off_policy_evaluation(run, workdir, dataset, judged)
        if not {"evaluate", "ope"} & set(stages):
            log.info(
                "The policy is not judged: that reads the whole log at once, and config.data.mode=stream leaves it on "
                "disk. A run with config.data.mode=memory on a part of the log judges it, too: "
                f"--against={workdir.path}"
            )
        return report(run, workdir, dataset)

    return first(judge_and_report, "evaluates and reports")


def main(_: list[str]) -> None:
    stages = STAGES if FLAGS.stage == "all" else (FLAGS.stage,)
    run(given_config(), FLAGS.workdir, stages, FLAGS.distributed, FLAGS.against)


def given_config() -> ConfigDict:
    """The configuration of --config; raises ConfigError if its file is missing or gives something else."""
    config = FLAGS.config  # ml_collections keeps a missing file to itself until a field is read
    try:
        config.task  # noqa: B018
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{reason}; --config must name a file, such as configs/dog_trot.py") from error
    except AttributeError as error:
        reason = "the file's get_config() returns no field `task`; configs/base.py has all fields."
        raise ConfigError(f"--config: {reason}") from error
    return config


def explain(error: BaseException) -> tuple[str, int] | None:
    """The last line and the exit code after a preemption."""
    processes = sys.modules.get("spin_jax.record.processes")  # an early error does not wait for the import of JAX
    return (str(error), error.code) if processes and isinstance(error, processes.Preempted) else None


def tell_the_others(line: str) -> None:
    """Ends the other processes of the run, if there are any, after an error."""
    processes = sys.modules.get("spin_jax.record.processes")
    if processes:
        processes.fail(line)


def shipped_configs() -> pathlib.Path:
    """The folder that holds `configs`: the repository or, where the package is installed, a folder of the package."""
    package = pathlib.Path(__file__).parent
    return package / "shipped" if (package / "shipped" / "configs").is_dir() else package.parent


def find_config(argument: str) -> str:
    """`--config=configs/…` with the path of the shipped file, if there is no such file in the current folder."""
    flag, _, name = argument.partition("=")
    path, *preset = name.split(":", 1)
    shipped = shipped_configs() / path
    if flag.lstrip("-") != "config" or pathlib.Path(path).exists() or not shipped.is_file():
        return argument
    return f"{flag}={':'.join([str(shipped), *preset])}"


def with_shipped_configs() -> list[str]:
    """sys.argv, where a shipped configuration is found from any folder."""
    return [sys.argv[0], *map(find_config, sys.argv[1:])]


def get_config(name: str) -> ConfigDict:
    """The shipped configuration of this name, with a preset after a colon: get_config("log:quick")."""
    name, _, preset = name.partition(":")
    known = sorted(path.stem for path in (shipped_configs() / "configs").glob("*.py") if path.stem != "base")
    if name not in known:
        raise ConfigError(f"There is no configuration {name!r}; there are {', '.join(known)}.")
    with _shipped_configs_alone():
        return importlib.import_module(f"configs.{name}").get_config(preset or "paper")


def train(config: ConfigDict, workdir: str | os.PathLike, dataset: "LoggedDataset | None" = None) -> dict:
    """Runs or resumes all stages, as main.py does; returns what results.json holds. `spin_jax.load` loads the policy.

    dataset: the log of a configuration of configs/log.py. Raises subclasses of spin_jax.errors.UserError.
    """
    if dataset is not None:
        config = ConfigDict(config.to_dict())
        config.data.path = str(dataset.path)
    results = run(config, str(workdir), STAGES)
    assert results is not None  # STAGES end with a report
    return results


def _shipped_package() -> types.ModuleType:
    """The package `configs` that is shipped, whatever other package of that name can be imported."""
    package = types.ModuleType("configs")
    package.__path__ = [str(shipped_configs() / "configs")]
    return package


@contextlib.contextmanager
def _shipped_configs_alone() -> Iterator[None]:
    """While inside, `configs` is the shipped package; then it is again what the caller has of that name."""

    def take_out() -> dict:
        names = [name for name in sys.modules if name == "configs" or name.startswith("configs.")]
        return {name: sys.modules.pop(name) for name in names}

    theirs = take_out()
    sys.modules["configs"] = _shipped_package()
    try:
        yield
    finally:
        take_out()
        sys.modules.update(theirs)


def main_command() -> None:
    """Runs the command line."""
    sys.modules["configs"] = _shipped_package()  # a configuration imports configs.base
    config_flags.DEFINE_config_file("config", None, "configuration file, with a preset after a colon")
    flags.DEFINE_string("workdir", None, "directory of this run: checkpoints, metrics, results", required=True)
    flags.DEFINE_enum("stage", "all", ["all", *STAGES, "ope"], "what to run")
    flags.DEFINE_string("distributed", "off", "off | auto = join the cluster's other processes | host:port,n,i")
    flags.DEFINE_list("against", [], "workdirs of other runs, of which ope judges the policies, too")
    flags.mark_flag_as_required("config")
    command.run(main, resumes=True, argv=with_shipped_configs(), explain=explain, before_end=tell_the_others)
