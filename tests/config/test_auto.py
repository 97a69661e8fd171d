"""What 'auto' is decided to be, by machine and by policy, and that nothing is left undecided."""

import jax
import pytest

from configs.cheetah_run import get_config
from spin_jax.config import auto
from spin_jax.config.auto import resolve, worker_processes
from spin_jax.config.build import build
from spin_jax.record.workdir import flat


def resolved(monkeypatch, cores=2, backend="cpu", preset="paper", **changes):
    monkeypatch.setattr(auto, "usable_cores", lambda: cores)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config = get_config(preset)
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return resolve(config)


@pytest.mark.parametrize("preset", ["paper", "quick", "smoke"])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_nothing_is_left_to_decide(monkeypatch, backend, preset):
    config = resolved(monkeypatch, backend=backend, preset=preset, num_seeds=3)
    assert "auto" not in flat(config.to_dict()).values()
    assert (config.data.num_workers, config.eval.num_workers) != (-1, -1)
    assert config.seeds_per_batch == (1 if backend == "cpu" else 3)
    assert config.iql.extract_after >= 0


@pytest.mark.parametrize(("cores", "backend", "expected"), [(2, "cpu", "off"), (3, "cpu", "on"), (1, "gpu", "on")])
def test_evaluation_is_beside_training_where_something_is_free(monkeypatch, cores, backend, expected):
    assert resolved(monkeypatch, cores, backend).eval.asynchronous == expected
    for chosen in ("on", "off"):
        assert resolved(monkeypatch, cores, backend, eval__asynchronous=chosen).eval.asynchronous == chosen


def test_beside_training_on_an_accelerator_the_host_plays(monkeypatch):
    assert resolved(monkeypatch, backend="gpu").eval.device == "cpu"
    assert resolved(monkeypatch, backend="gpu", eval__asynchronous="off").eval.device == "accelerator"
    assert resolved(monkeypatch, backend="gpu", eval__device="accelerator").eval.device == "accelerator"
    assert resolved(monkeypatch, backend="cpu").eval.device == "cpu"


def test_products_are_low_precision_on_accelerators_alone(monkeypatch):
    assert resolved(monkeypatch, backend="tpu", precision="auto").precision == "bfloat16"
    assert resolved(monkeypatch, backend="cpu", precision="auto").precision == "float32"
    for precision, dtype in (("auto", "bfloat16"), ("bfloat16", "bfloat16"), ("float32", None)):
        run = build(resolved(monkeypatch, backend="tpu", precision=precision))
        assert run.asm.model.body.dtype == dtype


def test_paper_is_float32_everywhere_as_published(monkeypatch):
    assert resolved(monkeypatch, backend="tpu").precision == "float32"
    assert resolved(monkeypatch, backend="tpu", preset="quick").precision == "bfloat16"


@pytest.mark.parametrize(("learner", "dropout"), [("iql", 0.1), ("awac", 0.1), ("bcq", 0.0), ("bc", 0.1)])
def test_the_factored_policys_dropout_is_the_published_one_of_its_learner(monkeypatch, learner, dropout):
    assert resolved(monkeypatch, policy="factored", learner=learner).factored.dropout == dropout
    assert resolved(monkeypatch, learner=learner, factored__dropout=0.3).factored.dropout == 0.3


@pytest.mark.parametrize("always", [True, False])
def test_one_field_turns_dropout_on_in_targets_and_in_the_frozen_body(monkeypatch, always):
    for learner in ("awac", "bcq", "cql"):
        run = build(resolved(monkeypatch, learner=learner, train__always_dropout=always))
        assert run.learner_config.always_dropout == always
        assert run.policy_config.frozen_dropout == always


def test_worker_processes_follow_the_cores(monkeypatch):
    for cores, expected in ((1, 0), (2, 2), (8, 8)):
        monkeypatch.setattr(auto, "usable_cores", lambda cores=cores: cores)
        assert worker_processes(-1) == expected
        assert [worker_processes(n) for n in (0, 3)] == [0, 3]


@pytest.mark.parametrize(
    ("policy", "heads", "masking", "extract_after"),
    [
        ("spin", "fresh", "fixed", 0),
        ("spin", "asm", "fixed", 60),
        ("spin_warm", "fresh", "full_range", 60),
        ("spin_cached", "asm", "full_range", 60),
        ("spin_cached", "fresh", "full_range", 0),
        ("spin_decode", None, "full_range", 0),
        ("saint", None, "fixed", 0),
    ],
)
def test_what_a_policy_stands_for_follows_from_its_entry(monkeypatch, policy, heads, masking, extract_after):
    changes = {"policy": policy, "train__num_steps": 80, "iql__extract_after": -1}
    section = "spin" if policy == "spin_warm" else policy
    config = resolved(monkeypatch, **changes, **({f"{section}__heads": heads} if heads else {}))
    assert (config.asm.masking, config.iql.extract_after) == (masking, extract_after)
    if policy == "spin_warm":
        assert (config.spin.queries, config.spin.heads) == ("mask", "asm")


def test_the_warm_start_takes_over_heads_of_any_width(monkeypatch):
    config = resolved(monkeypatch, policy="spin_warm", asm__head_width=48)
    assert config.spin.head_width == 48
    build(config)


def test_resolving_twice_changes_nothing(monkeypatch):
    once = resolved(monkeypatch, preset="quick")
    assert resolve(once).to_dict() == once.to_dict()


def test_relative_paths_are_seen_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    paths = {"asm__path": "run/asm", "data__path": "gs://bucket/log", "data__dir": "~/data", "asm__body_path": ""}
    config = resolved(monkeypatch, **paths)
    assert config.asm.path == str(tmp_path / "run" / "asm")
    assert (config.data.path, config.data.dir, config.asm.body_path) == ("gs://bucket/log", "~/data", "")
