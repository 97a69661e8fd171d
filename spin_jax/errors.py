"""Errors that the user can mend: `main` prints their message instead of a traceback.

A message names the wrong thing (and both values if two disagree) and says what to do. This module imports nothing.
"""


class UserError(Exception):
    """The base class of all errors below."""


class ConfigError(UserError, ValueError):
    """A field of the configuration is unknown, missing, or out of range."""


class DataError(UserError, ValueError):
    """A log is missing, unreadable, or holds something that cannot be trained on."""


class CheckpointError(UserError, ValueError):
    """A checkpoint is missing, damaged, or does not fit."""


class WorkdirError(UserError, ValueError):
    """The workdir belongs to another configuration, or was trained on another log or ASM."""


class ExportError(UserError, ValueError):
    """An exported policy is not the policy that it was made from, or the file to write exists."""


class RenderingError(UserError, RuntimeError):
    """The renderer that MUJOCO_GL names cannot be loaded."""


class SimulatorError(UserError, RuntimeError):
    """A simulator is not installed, is the wrong version, or does not start."""


class DivergedError(UserError, FloatingPointError):
    """A metric of training became NaN or infinite."""
