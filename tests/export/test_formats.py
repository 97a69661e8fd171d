"""Every policy in every format plays what the policy itself plays; the learner's own `act` is the oracle."""

import ast
import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from spin_jax.errors import ConfigError, ExportError
from spin_jax.export import numpy_format, numpy_policy
from spin_jax.export.api import from_trained, load
from spin_jax.export.check import check
from spin_jax.export.write import FORMATS, write_checked
from spin_jax.registry import POLICIES

MISSING = [name for name in ("onnx", "onnxruntime") if not importlib.util.find_spec(name)]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason="pip install -e '.[onnx]'")
every_format = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_onnx if kind == "onnx" else ()) for kind in FORMATS]
)
BATCHES = (1, 7, 256)


@pytest.fixture(scope="module")
def expected(make_trained, played):
    """expected(policy) -> (greedy actions, actions with seed 3) of all rows."""
    found = {}

    def both(name):
        if name not in found:
            trained = make_trained(name)
            noise = numpy_policy.gumbel(3, len(trained.rows), trained.greedy_noise.size)
            found[name] = played(trained, None), played(trained, noise)
        return found[name]

    return both


def write(path, kind, trained):
    with path.open("wb") as file:
        FORMATS[kind](file, trained)


@every_format
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_batch_size_plays_what_the_policy_plays(name, kind, make_trained, expected, tmp_path):
    trained, (greedy, sampled) = make_trained(name), expected(name)
    write(tmp_path / "policy", kind, trained)
    policy = load(tmp_path / "policy")
    assert policy.header["format"] == kind
    assert policy.spaces == trained.interface.spaces
    for batch in BATCHES:
        part = trained.rows[-batch:]
        np.testing.assert_array_equal(policy.act(part), greedy[-batch:])
        noise = numpy_policy.gumbel(3, len(trained.rows), trained.greedy_noise.size)[-batch:]
        np.testing.assert_array_equal(policy.play(part, noise), sampled[-batch:])
    assert len(np.unique(greedy, axis=0)) > 1
    assert (greedy != sampled).any()
    np.testing.assert_array_equal(policy.act(trained.rows, greedy=False, seed=3), sampled)
    np.testing.assert_array_equal(policy.act(trained.rows[5]), greedy[5])
    assert policy.act(trained.rows[:0]).shape == (0, greedy.shape[1])
    assert policy.probabilities(trained.rows[:0]).shape == (0, *policy.spec.valid.shape)


VARIANTS = [
    ("factored", "bcq", {"bcq__threshold": 0.6}),
    ("spin_cached", "bcq", {"asm__positions": "learned"}),
    ("autoregressive", "bcq", {"bcq__q": "mean"}),
    ("spin_decode", "bcq", {}),
    ("spin_decode", "bcq", {"spin_decode__candidates": 1}),
    ("spin_decode", "bc", {"asm__state_free": True}),
    (
        "spin_decode",
        "iql",
        {"spin_decode__select": "softmax", "spin_decode__beta": 0.3, "asm__positions": "sinusoidal"},
    ),
    ("spin", "iql", {"asm__state_free": True, "asm__positions": "learned"}),
    ("spin", "bc", {"spin__finetune": "trained", "asm__num_blocks": 2}),
]


@pytest.mark.parametrize(("name", "learner", "changes"), VARIANTS)
def test_variants_of_policies_and_learners(name, learner, changes, make_trained, played, tmp_path):
    """BCQ's support, policies without critics or without a state in the ASM, positions, fine-tuning."""
    trained = make_trained(name, learner, **changes)
    noise = numpy_policy.gumbel(3, len(trained.rows), trained.greedy_noise.size)
    kinds = [kind for kind in ("numpy", "onnx") if not (kind == "onnx" and MISSING)]
    for kind in kinds:
        write(tmp_path / kind, kind, trained)
    for source in (None, noise):
        actions = played(trained, source)
        for kind in kinds:
            policy = load(tmp_path / kind)
            given = policy.noise(len(trained.rows), True, None) if source is None else noise
            np.testing.assert_array_equal(policy.play(trained.rows, given), actions, err_msg=kind)


@every_format
@pytest.mark.parametrize("name", ["factored", "autoregressive"])
def test_probabilities_are_the_shares_of_many_samples(name, kind, make_trained, tmp_path):
    """20 000 draws in one state: within 4 sigma, and of 64 draws where the exact ones are not known."""
    trained = make_trained(name)
    write(tmp_path / "policy", kind, trained)
    policy, n = load(tmp_path / "policy"), 20_000
    found = policy.probabilities(trained.rows[0])
    drawn = policy.act(np.tile(trained.rows[:1], (n, 1)), greedy=False, seed=0)
    shares = (drawn[..., None] == np.arange(3)).mean(0)
    draws = n if policy.header["exact_probabilities"] else numpy_policy.DRAWS
    assert (np.abs(found - shares) <= 4 * np.sqrt(shares * (1 - shares) * (1 / n + 1 / draws)) + 1e-6).all()
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert (found[[0, 2], 2] == 0).all()  # padding
    assert policy.header["exact_probabilities"] == (name == "factored")
    np.testing.assert_allclose(policy.probabilities(trained.rows[:2])[0], found, rtol=1e-5)


def test_an_export_that_is_not_the_policy_is_refused_and_leaves_nothing(make_trained, monkeypatch, tmp_path):
    monkeypatch.setattr(numpy_policy, "_relu", lambda x: np.maximum(x, 0.05 * x))
    with pytest.raises(ExportError, match=r"is not the policy: (in row \d+ it plays|a probability)"):
        write_checked(make_trained("factored"), tmp_path / "policy.npz", "numpy")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_probability_is_refused(make_trained):
    original, other = (from_trained(make_trained("factored")) for _ in range(2))
    known = other._probabilities
    other._probabilities = lambda rows: known(rows) + np.float32(0.02)
    with pytest.raises(ExportError, match="a probability differs by 0.02"):
        check(other, original, make_trained("factored").rows)


def test_only_differences_between_equally_good_choices_count_as_ties(make_trained, tmp_path):
    """Stand-ins that play 1 if age, or the first number of the noise, is above a limit, in which they differ a little.

    Ages count as equal within 1e-5 of them, and noise within 1e-3; where two stand-ins differ by more, it is refused.
    """

    def stand_in(limit, of_noise=np.inf):
        policy = from_trained(make_trained("autoregressive"))
        policy._play = lambda rows, noise: np.repeat((rows[:, :1] > limit) | (noise[:, :1] > of_noise), 3, axis=1)
        return policy

    rows = np.full((4, 5), 40, np.float32)
    rows[2] = 50.0002
    assert check(stand_in(50.0003), stand_in(50), rows) == {"rows": 4, "ties": 2}  # greedy and sampled
    rows[2] = 50.01
    with pytest.raises(ExportError, match=r"in row 2 it plays \[0, 0, 0\] in place of \[1, 1, 1\]"):
        check(stand_in(50.02), stand_in(50), rows)
    # greedy noise is 0
    assert check(stand_in(99, of_noise=-5e-4), stand_in(99, of_noise=5e-4), rows)["ties"] >= 4
    with pytest.raises(ExportError, match=r"in row 0 it plays \[1, 1, 1\] in place of \[0, 0, 0\]"):
        check(stand_in(99, of_noise=-0.01), stand_in(99, of_noise=0.01), rows)


def test_the_numpy_file_runs_alone(make_trained, tmp_path):
    """Copied beside its archive, in a Python that has neither JAX nor spin_jax."""
    source, trained = pathlib.Path(numpy_policy.__file__), make_trained("spin_decode")
    names = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert names <= {"json", "math", "typing", "collections.abc", "numpy"}
    with (tmp_path / "policy.npz").open("wb") as file:
        numpy_format.write_numpy(file, trained)
    (tmp_path / "numpy_policy.py").write_text(source.read_text())
    program = (
        "import json, sys; sys.modules.update(jax=None, spin_jax=None); import numpy as np, numpy_policy\n"
        "policy = numpy_policy.load('policy.npz'); rows = np.array(json.loads(sys.argv[1]))\n"
        "print(json.dumps([policy.act(rows).tolist(), policy.act(rows[0], greedy=False, seed=1).tolist(),"
        " policy.probabilities(rows[:1]).tolist(), policy.header['spaces']['slots'], policy.act(rows[:0]).shape]))"
    )
    rows = trained.rows[:5]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(rows.tolist())], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    greedy, sampled, probabilities, slots, none = json.loads(done.stdout)
    assert none == [0, 3]
    policy = load(tmp_path / "policy.npz")
    assert greedy == policy.act(rows).tolist()
    assert sampled == policy.act(rows[0], greedy=False, seed=1).tolist()
    np.testing.assert_allclose(probabilities, policy.probabilities(rows[:1]))
    assert slots == list(trained.interface.spaces.slots)


def test_a_policy_without_a_forward_pass_in_numpy_is_named(make_trained, monkeypatch, tmp_path):
    monkeypatch.delitem(numpy_format.NETWORKS, "saint")
    for kind in ["numpy"] + ["onnx"] * (not MISSING):
        with pytest.raises(ConfigError, match="do not know policy saint: use --format=jax"):
            write_checked(make_trained("saint"), tmp_path / "policy", kind)


def test_every_registered_policy_has_a_forward_pass_in_numpy():
    assert set(numpy_format.NETWORKS) == set(POLICIES)


def test_erf_is_that_of_math():
    x = np.linspace(-6, 6, 1001).astype(np.float32)
    expected = [value * (1 + numpy_policy.math.erf(value / 2**0.5)) / 2 for value in x.astype(float)]
    np.testing.assert_allclose(numpy_policy._gelu(x), expected, rtol=2e-7, atol=3e-7)
