"""Where compiled programs are kept."""

import os
import pathlib
import subprocess
import sys
import zlib

from spin_jax.training import compilation

PROGRAM = """
import time, jax, jax.numpy as jnp
from spin_jax.training import compilation
compilation.SECONDS = 0.0
compilation.keep_compilations()
print(jax.config.jax_compilation_cache_dir)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
"""


def run(**environment):
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr
    return found.stdout.strip()


def test_programs_are_kept_in_the_users_cache_and_found_again(tmp_path):
    directory = run(XDG_CACHE_HOME=str(tmp_path))
    assert directory.startswith(str(tmp_path / "spin_jax" / "compiled-"))
    kept = sorted(path.name for path in (tmp_path / "spin_jax").rglob("*-cache"))
    assert kept
    assert run(XDG_CACHE_HOME=str(tmp_path)) == directory
    assert sorted(path.name for path in (tmp_path / "spin_jax").rglob("*-cache")) == kept  # nothing compiled anew


def test_a_place_that_the_user_chose_is_kept(tmp_path):
    chosen = str(tmp_path / "mine")
    assert run(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=chosen) == chosen
    assert not (tmp_path / "spin_jax").exists()


def test_a_program_that_was_cut_off_is_removed_and_made_anew(tmp_path):
    directory = pathlib.Path(run(XDG_CACHE_HOME=str(tmp_path)))
    cut, *others = sorted(directory.glob("*-cache"))
    cut.write_bytes(cut.read_bytes()[:-1])
    assert run(XDG_CACHE_HOME=str(tmp_path)) == str(directory)  # without JAX's warning
    assert sorted(directory.glob("*-cache")) == [cut, *others]
    zlib.decompress(cut.read_bytes())


def test_a_program_is_looked_at_once(tmp_path):
    program = tmp_path / "jit_f-1-cache"
    program.write_bytes(zlib.compress(b"a program"))
    compilation.remove_damaged(tmp_path)
    program.write_bytes(b"damaged")
    os.utime(program, (0, 0))  # as if it had been so for long
    compilation.remove_damaged(tmp_path)
    assert program.exists()
    program.touch()
    compilation.remove_damaged(tmp_path)
    assert not program.exists()


def test_a_folder_that_is_not_there_or_may_not_be_written_is_no_error(tmp_path):
    compilation.remove_damaged(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_may_not_be_entered_is_no_error(tmp_path, monkeypatch):
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "stat", refuse)
    monkeypatch.setattr(pathlib.Path, "exists", refuse)
    compilation.remove_damaged(tmp_path)
