"""Where compiled programs are kept."""

import subprocess
import sys

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
