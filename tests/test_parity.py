"""Our updates are those of the published code, held by golden traces of it; a wrong update, and a wrong file, show."""

import pathlib
import shutil

import numpy as np
import pytest

from benchmarks import parity
from spin_jax.errors import UserError
from spin_jax.learners import steps
from spin_jax.models import transformer
from spin_jax.types import ActionSpec

GOLDEN = sorted((pathlib.Path(__file__).parent / "parity").glob("*.npz"))
PLACES = {
    "asm": {"policy"},
    "iql": {"policy", "critics", "targets", "value"},
    "awac": {"policy", "critics", "targets", "value"},
    "bcq": {"policy", "critics", "targets"},
}


def worst(path):
    return max(value for part in parity.compare(path)["differences"].values() for value in part.values())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_updates_are_the_published_ones(path):
    """After 1, 2 and 5 updates, in float64: to a billionth of the distance that a part has moved."""
    row = parity.compare(path)
    learner, _, network = path.stem.partition("-")
    assert (row["learner"], row["network"]) == (learner, network or "asm")
    assert row["differences"].keys() == PLACES[learner]
    for part in row["differences"].values():
        assert part.keys() == {1, 2, 5}
        assert max(part.values()) < 1e-9


def golden(name):
    return next(path for path in GOLDEN if path.stem == name)


def test_another_epsilon_in_layer_norm_shows(monkeypatch):
    monkeypatch.setattr(transformer, "EPSILON", 1e-6)
    assert worst(golden("iql-spin")) > parity.LIMIT


def test_summed_losses_of_critics_show_although_adam_nearly_cancels_the_factor(monkeypatch):
    mean = steps.td_loss
    monkeypatch.setattr(steps, "td_loss", lambda q, target: len(q) * mean(q, target))
    assert worst(golden("bcq-factored")) > parity.LIMIT


def test_sizes_and_choices_are_read_from_the_arrays():
    trace = parity.read_trace(golden("iql-spin"))
    assert parity.action_spec(trace["0"], 3) == ActionSpec((3, 2, 4))
    config = parity.configure(trace, "iql", "spin")
    found = config.asm.width, config.asm.num_heads, config.asm.num_blocks, config.asm.ffn_mult, config.asm.state_tokens
    assert found == (16, 2, 2, 2, 1)
    assert (config.spin.head_width, config.iql.critic_width, config.iql.value_width) == (12, 24, 24)


def test_wrong_files_are_named(tmp_path):
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(UserError, match="text.npz is not an .npz file"):
        parity.compare(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UserError, match="other.npz is no golden trace"):
        parity.compare(tmp_path / "other.npz")
    shutil.copy(golden("bcq-factored"), tmp_path / "less.npz")
    with np.load(tmp_path / "less.npz") as file:
        arrays = {name: file[name] for name in file.files if not name.endswith("critic_1/Dense_2/bias")}
    np.savez(tmp_path / "less.npz", **arrays)
    with pytest.raises(UserError, match="0/critics has other arrays than ours"):
        parity.compare(tmp_path / "less.npz")
