"""Which commit figures are recorded with."""

import importlib.util
import pathlib
import shutil
import subprocess

from spin_jax.record import machine

HERE = pathlib.Path(machine.__file__)


def git(directory, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def commit_of(root):
    """What the module says that lies in root/spin_jax/record."""
    path = root / "spin_jax" / "record" / "machine.py"
    path.parent.mkdir(parents=True)
    shutil.copy(HERE, path)
    spec = importlib.util.spec_from_file_location("machine_copy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.commit()


def test_the_commit_is_that_of_our_source_and_never_of_a_repository_around_it(tmp_path):
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "--message=theirs")
    assert commit_of(tmp_path) == git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(tmp_path / ".venv" / "site-packages") == ""
