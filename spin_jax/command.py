"""How every command of the package begins and ends: wrong flags, errors and signals are one line each."""

import errno
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags

from spin_jax.errors import UserError

FULL = "No space left on device"
RESUMES = "The same command goes on from what is saved."


class Terminated(BaseException):
    """SIGTERM came. No Exception, so that what reads a file does not take it for damage."""

    code = 143


def run(
    main: Callable[[list[str]], Any],
    *,
    takes: str = "",
    resumes: bool = False,
    argv: Sequence[str] | None = None,
    explain: Callable[[BaseException], tuple[str, int] | None] = lambda error: None,
    before_end: Callable[[str], None] = lambda line: None,
) -> None:
    """Parses the flags, calls main(arguments without dashes) and ends the process with what it returns.

    takes: what the arguments without dashes are; with "", they are refused. resumes: after a stop, the last line says
    that the same command goes on. explain(error): the last line and the exit code for errors that only this command
    knows, else None. before_end(line) is called before the process ends with any other.

    Exit codes: 1 after an error, 2 after a wrong flag, 130 after Ctrl-C, 143 after SIGTERM. What is not the user's to
    mend is a bug: its traceback is kept in a file that the line names, and shown with --debug.
    """
    flags.DEFINE_boolean("debug", False, "show the traceback of an error")

    def terminate(number, frame):
        raise Terminated

    def guarded(argv: list[str]) -> Any:
        signal.signal(signal.SIGTERM, terminate)
        sys.unraisablehook = send_again
        try:
            if argv[1:] and not takes:
                raise UserError(f"{' '.join(argv[1:])}: flags begin with --, and no other arguments are taken.")
            return main(argv[1:])
        except (Exception, KeyboardInterrupt, Terminated) as error:
            if flags.FLAGS.debug:
                traceback.print_exc()
            own = explain(error)
            line, code = own or explained(error, resumes)
            if own is None:
                before_end(line)
            print(line, file=sys.stderr, flush=True)
            return code

    app.run(guarded, argv=list(sys.argv if argv is None else argv), flags_parser=parse_flags)


def send_again(unraisable: Any) -> None:
    """Sends a signal again whose exception Python has swallowed, as it does in destructors and the garbage collector.

    Other exceptions are reported as Python does.
    """
    if not issubclass(unraisable.exc_type, (Terminated, KeyboardInterrupt)):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))  # not from here: it would be swallowed as well
    again.daemon = True
    again.start()


def parse_flags(argv: list[str]) -> list[str]:
    """Parses flags as absl does; a wrong flag or configuration field ends in one line instead of a traceback."""
    try:
        return flags.FLAGS(argv)
    except Exception as error:  # also whatever a configuration file raises
        print(f"error: {explain_flag_error(argv, error)}", file=sys.stderr, flush=True)
        sys.exit(2)


def explain_flag_error(argv: list[str], error: Exception) -> str:
    """An error of flag parsing in one line; for an unknown --config.… field it suggests the nearest known one."""
    if isinstance(error, SyntaxError):
        return f"--config: {error.filename}, line {error.lineno}: {error.msg}"
    message = " ".join(str(error).split())
    files = [argument.partition("=")[2] for argument in argv if argument.lstrip("-").startswith("config=")]
    if files and not isinstance(error, flags.Error | AttributeError | KeyError | TypeError | ValueError):
        return f"--config={files[-1]}: {type(error).__name__}: {message}"
    if isinstance(error, AttributeError | KeyError | TypeError):
        fields = [argument.split("=")[0].lstrip("-") for argument in argv if argument.lstrip("-").startswith("config.")]
        unknown = [field for field in fields if field.split(".")[-1] in message]
        close = re.search(r'Did you mean "(\w+)"', message)
        hint = f"Did you mean {close.group(1)!r}?" if close else "The fields and what they mean: configs/base.py."
        return f"{', '.join(unknown) or message}: no such field. {hint}"
    return message.split("Error: ")[-1] if "Traceback" in message else message


def explained(error: BaseException, resumes: bool) -> tuple[str, int]:
    """(the last line, the exit code) for an error that a command ended with."""
    again = f" {RESUMES}" if resumes else ""
    if isinstance(error, KeyboardInterrupt):
        return f"Stopped by Ctrl-C.{again}", 130
    if isinstance(error, Terminated):
        return str(error) or f"Stopped by SIGTERM.{again}", error.code
    if isinstance(error, UserError):
        return f"error: {error}", 1
    chain = list(_causes(error))
    full = next((e for e in chain if getattr(e, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or FULL in str(e)), None)
    if full is not None:
        return f"error: the disk is full{_place(full)}: free some of it.{again}", 1
    if isinstance(error, OSError) and error.strerror:
        return f"error: {error.strerror}{_place(error)}.", 1
    if isinstance(error, MemoryError) or any("RESOURCE_EXHAUSTED" in str(e) for e in chain):
        return f"error: out of memory ({_first_line(error)}). Take smaller batches or models.", 1
    return f"error: unexpected {_first_line(error)}; the traceback is in {_keep(error)} (--debug shows it)", 1


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it comes from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _place(error: BaseException) -> str:
    names = (getattr(error, "filename", None), getattr(error, "filename2", None))
    return "".join(f" ({os.fspath(name)})" for name in names if isinstance(name, str | os.PathLike))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _keep(error: BaseException) -> str:
    """Writes the traceback to a new file and returns its path."""
    handle, path = tempfile.mkstemp(prefix="spin_jax_", suffix=".log")
    with os.fdopen(handle, "w") as file:
        file.writelines(traceback.format_exception(error))
    return path
