"""What a run asks of the machine that it runs on, looked at before anything is made or trained."""

import jax

from spin_jax.config.sections import RunConfig
from spin_jax.errors import ConfigError
from spin_jax.registry import ENVS


def check_machine(run: RunConfig) -> None:
    """Raises ConfigError or RenderingError if the run needs an accelerator or a renderer that is not there."""
    if run.eval.device == "accelerator" and jax.default_backend() == "cpu":
        raise ConfigError("config.eval.device=accelerator: JAX finds no accelerator here. Use cpu or auto.")
    if run.eval.video and run.simulated:
        env = ENVS[run.task](run.task, run.bins)
        env.reset(0)
        env.render()
