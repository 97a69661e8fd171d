"""How commands end: one line and an exit code for every kind of error and signal, in real processes without JAX."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

HEAD = """
import errno, os, signal, time
from absl import flags
from spin_jax import command
from spin_jax.errors import DataError
flags.DEFINE_integer("number", 1, "a number", lower_bound=0)
def main(arguments):
    {body}
command.run(main, {options})
"""


def end(tmp_path, body, *arguments, options="", **settings):
    """(exit code, lines on standard error) of a command whose main has this body."""
    script = [sys.executable, "-c", HEAD.format(body=body, options=options), *arguments]
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    done = subprocess.run(script, capture_output=True, text=True, env=environment, timeout=60, **settings)
    return done.returncode, done.stderr.strip().splitlines()


FULL = 'raise OSError(errno.ENOSPC, "No space left on device", "/data/x")'


@pytest.mark.parametrize(
    ("body", "arguments", "code", "line"),
    [
        ("return 7", (), 7, None),
        ('raise DataError("row 3 is bad")', (), 1, "error: row 3 is bad"),
        ("pass", ("policy=spin",), 1, "error: policy=spin: flags begin with --, and no other arguments are taken."),
        ("pass", ("--nmber=3",), 2, "error: Unknown command line flag 'nmber'. Did you mean: number ?"),
        ("pass", ("--number=-1",), 2, "error: flag --number=-1: -1 is not a non-negative integer"),
        ('open("/nothing/here")', (), 1, "error: No such file or directory (/nothing/here)."),
        ('open("/")', (), 1, "error: Is a directory (/)."),
        (FULL, (), 1, "error: the disk is full (/data/x): free some of it."),
        (f"try:\n        {FULL}\n    except OSError as e:\n        raise RuntimeError('writer') from e", (), 1,
         "error: the disk is full (/data/x): free some of it."),
        ('raise ValueError("zarr: write failed: No space left on device")', (), 1,
         "error: the disk is full: free some of it."),
        ('raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes")', (), 1,
         "error: out of memory (RuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes). Take smaller "
         "batches or models."),
        ("signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
         (), 130, "Stopped by Ctrl-C."),  # a shell starts what runs in the background with Ctrl-C ignored
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", (), 143, "Stopped by SIGTERM."),
    ],
)  # fmt: skip
def test_every_end_is_one_line(tmp_path, body, arguments, code, line):
    assert end(tmp_path, body, *arguments) == (code, [line] if line else [])


def test_a_bug_leaves_its_traceback_in_a_file(tmp_path):
    code, lines = end(tmp_path, "{}['x']")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: unexpected KeyError: 'x'; the traceback is in ")
    (kept,) = tmp_path.glob("spin_jax_*.log")
    assert str(kept) in lines[0]
    assert "Traceback" in kept.read_text()
    assert "line 8, in main" in kept.read_text()
    _, shown = end(tmp_path, "{}['x']", "--debug")
    assert "Traceback (most recent call last):" in shown


def test_a_command_that_resumes_says_so(tmp_path):
    body = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)"
    line = "Stopped by SIGTERM. The same command goes on from what is saved."
    assert end(tmp_path, body, options="resumes=True") == (143, [line])


def test_arguments_and_own_errors(tmp_path):
    assert end(tmp_path, "return len(arguments)", "a", "b", options='takes="files"') == (2, [])
    options = 'explain=lambda e: ("bye", 75) if type(e) is OSError else None, '
    options += 'before_end=lambda line: print("first", line, file=__import__("sys").stderr)'
    assert end(tmp_path, "raise OSError", options=options) == (75, ["bye"])
    assert end(tmp_path, "raise DataError('a')", options=options) == (1, ["first error: a", "error: a"])


def test_early_errors_of_main_do_not_wait_for_jax(tmp_path):
    """The flags, the configuration file and stray arguments are checked before JAX is imported."""
    root = pathlib.Path(__file__).parents[1]
    broken, empty = tmp_path / "broken.py", tmp_path / "empty.py"
    broken.write_text("def get_config(preset) return 3\n")
    empty.write_text(
        "from ml_collections import ConfigDict\ndef get_config(preset=None):\n    return ConfigDict({'a': 1})\n"
    )
    cheetah = "--config=configs/cheetah_run.py:smoke"
    for arguments, told in (
        ((cheetah, "policy=spin"), "policy=spin: flags begin with --"),
        (
            ("--config=configs/nothing.py",),
            "directory: 'configs/nothing.py'; --config must name a file",
        ),
        ((f"--config={broken}",), f"--config: {broken}, line 1: expected ':'"),
        ((f"--config={empty}",), "returns no field `task`"),
        ((f"{cheetah}x",), "Unknown preset 'smokex'; presets: paper, quick, smoke."),
        ((cheetah, "--config.asm.wdth=3"), "config.asm.wdth: no such field. Did you mean 'width'?"),
        ((cheetah, "--config.asm.width=3.5"), "--config.asm.width=3.5: invalid literal for int()"),
    ):
        code = "import sys; from spin_jax import run; sys.argv[0] = 'main.py'\ntry: run.main_command()\n"
        code += "finally: print('jax' in sys.modules)"
        command = [sys.executable, "-c", code, f"--workdir={tmp_path / 'run'}", *arguments]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2), arguments
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert told in done.stderr
        assert done.stdout == "False\n", arguments
    assert not (tmp_path / "run").exists()


def test_sigterm_ends_a_command_that_waits(tmp_path):
    script = [sys.executable, "-c", HEAD.format(body='print("up", flush=True); time.sleep(60)', options="")]
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout.readline() == "up\n"
        child.send_signal(signal.SIGTERM)
        assert child.communicate(timeout=20)[1] == "Stopped by SIGTERM.\n"
    assert child.returncode == 143


@pytest.mark.parametrize(("name", "code", "line"), [("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C")])
def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(tmp_path, name, code, line):
    """Python swallows what is raised there; JAX has such a callback."""
    body = f"""import gc
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.callbacks.append(lambda *_: [gc.callbacks.clear(), os.kill(os.getpid(), signal.{name}), time.sleep(0.1)])
    gc.collect()
    time.sleep(30)"""
    assert end(tmp_path, body) == (code, [f"Stopped by {line}."])


def test_other_exceptions_that_python_swallows_are_reported_as_ever(tmp_path):
    body = """import gc
    gc.callbacks.append(lambda *_: [gc.callbacks.clear(), 1 / 0])
    gc.collect()"""
    code, lines = end(tmp_path, body)
    assert code == 0
    assert lines[-1] == "ZeroDivisionError: division by zero"
