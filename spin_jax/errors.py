"""Errors that are the user's to mend: main prints their one message instead of a traceback."""

from spin_jax.config.build import ConfigError
from spin_jax.data.rlds import DataError
from spin_jax.envs.dm_control import RenderingError
from spin_jax.record.checkpoint import CheckpointError
from spin_jax.record.workdir import WorkdirError

USER_ERRORS = (CheckpointError, ConfigError, DataError, FloatingPointError, RenderingError, WorkdirError)
