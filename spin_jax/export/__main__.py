"""Writes a trained policy to a file: `python -m spin_jax.export --workdir=DIR --out=FILE --format=jax`."""

import pathlib

from absl import flags

from spin_jax import command
from spin_jax.errors import ConfigError
from spin_jax.export.trained import BEST
from spin_jax.export.write import FORMATS, export_policy
from spin_jax.record.progress import setup_logging

FLAGS = flags.FLAGS


def main(_: list[str]) -> None:
    setup_logging()
    export_policy(pathlib.Path(FLAGS.workdir), pathlib.Path(FLAGS.out), FLAGS.format, FLAGS.seed, step_of(FLAGS.step))


def step_of(given: str | None) -> int | str | None:
    """A step, "best", or None."""
    if given is None or given == BEST:
        return given
    if not given.isdigit():
        raise ConfigError(f"--step={given} must be one of the kept steps, or {BEST}.")
    return int(given)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "directory of the run whose policy is exported", required=True)
    flags.DEFINE_string("out", None, "file to write; an existing one is not replaced", required=True)
    flags.DEFINE_enum("format", "jax", list(FORMATS), "jax (for CPU, CUDA and TPU) | onnx | numpy (without JAX)")
    flags.DEFINE_integer("seed", None, "which policy of a run of several seeds")
    flags.DEFINE_string("step", None, f"which of the kept steps; {BEST} = the one that --stage=ope values most")
    command.run(main)
