"""What the benchmarks compute from their measurements, and that they measure what they say."""

import functools

import jax
import numpy as np
import pytest

from benchmarks.flops import hand_gflop
from benchmarks.kills import Run, experiment
from benchmarks.measure import interleave, make_program, settings, spread, ticking
from benchmarks.scaling import slope
from benchmarks.wallclock_vs_saint import check_root, compare, system, table
from spin_jax.errors import WorkdirError
from spin_jax.training.operations import xla_gflop
from spin_jax.types import ActionSpec

SPEC = ActionSpec((3,) * 5)
SMALL = {"asm__width": 32, "asm__head_width": 32, "train__batch_size": 16}


def small_program(policy, **changes):
    return make_program(settings("cheetah_run", policy=policy, **SMALL, **changes), 2, 64, SPEC, 7)


@pytest.mark.parametrize("policy", ["saint", "spin", "spin_cached", "spin_distill", "factored", "autoregressive"])
@pytest.mark.slow
def test_operations_counted_by_hand_are_those_that_xla_counts(policy):
    """By hand only products are counted, so XLA finds a little more; at these sizes the rest is not small."""
    program = small_program(policy)
    by_hand, by_xla = (
        hand_gflop(program.run, SPEC, 7),
        xla_gflop(program.learner, program.frozen, program.data, program.run.train.batch_size),
    )
    assert 0.75 < by_hand / by_xla < 1.0


def test_other_learners_are_not_counted_by_hand():
    assert hand_gflop(settings("cheetah_run", policy="saint", learner="bc"), SPEC, 7) is None


def test_a_program_trains_all_its_seeds():
    program = small_program("factored", num_seeds=2)
    state = program.start()
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {2}
    after = program.chunk(jax.tree.map(lambda x: x.copy(), state))
    assert after.step.tolist() == [2, 2]
    ticking(program)()


def test_measurements_take_turns():
    order, clock = [], {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = interleave(clock, rounds=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert [len(s) for s in seconds.values()] == [2, 2]
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_slope_is_the_exponent():
    rows = [{"value": v, "ms_median": 5 + 0.1 * v**2} for v in (10, 100, 1000, 10_000)]
    assert slope(rows) == pytest.approx(2.0, abs=0.01)


def test_a_system_is_named_after_what_it_learns_with_not_after_when_it_is_looked_at():
    assert system("saint").title == "saint"
    assert (
        system("factored:learner=bc:bc.top_fraction=0.25:eval.every_steps=9").title == "factored, bc, top_fraction 0.25"
    )
    assert system("spin_decode:train.checkpoint_every_steps=9:asm.num_epochs=4").title == "spin_decode, num_epochs 4"


def test_time_to_target_is_the_first_mean_over_seeds_that_reaches_it():
    """SAINT's best mean is 100, so targets are 50, 75 and 95; spin passes them at 40 s, in the mean of its seeds."""
    curves = {
        "saint": [[(10, 0), (100, 80), (200, 98)], [(10, 0), (100, 100), (200, 102)]],
        "spin": [[(20, 0), (40, 90), (60, 95)], [(20, 0), (40, 102), (60, 95)]],
        "factored": [[(1, 5), (2, 94), (3, 20)], [(1, 5), (2, 94), (3, 20)]],
    }
    best, rows = compare(curves)
    assert best == 100
    found = {row["policy"]: row for row in rows}
    assert (found["saint"]["seconds_to"], found["saint"]["sooner"]) == ([100, 100, 200], 1)
    assert (found["spin"]["seconds_to"], found["spin"]["sooner"]) == ([40, 40, 40], 5)
    assert (found["factored"]["seconds_to"], found["factored"]["best"]) == ([2, 2, None], 94)
    shown = table(best, rows)
    assert "| minutes to 50, 75, 95 |" in shown
    assert "| factored | 94.0 | 20.0 [20.0, 20.0] | 0.05 | 0.03, 0.03, not reached |  |" in shown


def test_runs_of_another_task_are_not_taken_for_this_one(tmp_path):
    what = {"task": "cheetah_run", "overrides": []}
    check_root(tmp_path, what)
    check_root(tmp_path, what)
    with pytest.raises(
        WorkdirError, match=f"{tmp_path} holds runs of .*cheetah_run.*, not of .*dog_trot.*another --root"
    ):
        check_root(tmp_path, what | {"task": "dog_trot"})


@pytest.mark.parametrize("policy", ["saint", "spin", "factored", "autoregressive"])
def test_eager_reference_computes_what_ours_computes(policy):
    """check_outputs copies our weights and raises where log-probabilities differ; and one update is finite."""
    torch = pytest.importorskip("torch", reason="the eager reference needs torch, an optional extra")
    from benchmarks.eager_reference import check_outputs, eager_policy, eager_ticking

    torch.manual_seed(0)
    program = small_program(policy)
    eager = eager_policy(program.run, SPEC, 7)
    assert check_outputs(program, eager, 7) < 1e-4
    if policy == "spin":
        trained = {name.split(".")[0] for name, p in eager.named_parameters() if p.requires_grad}
        assert trained == {"queries", "heads"}
    before = [p.detach().clone() for p in eager.parameters() if p.requires_grad]
    eager_ticking(program, eager, 7, 2, "cpu")()
    after = [p.detach() for p in eager.parameters() if p.requires_grad]
    assert all(np.isfinite(p.numpy()).all() for p in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_kills_find_what_differs_and_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "go", lambda *_: (False, 1))
    whole, killed = (Run(tmp_path / name, []) for name in ("whole", "killed"))
    for run, loss, seconds in ((whole, "NaN", 1), (killed, "NaN", 2)):
        (run.work / "policy").mkdir(parents=True)
        (run.work / "policy" / f"events.out.tfevents.{seconds}").touch()
        (run.work / "metrics.jsonl").write_text(f'{{"step": 1, "loss": {loss}, "seconds": {seconds}}}\n')
    compare_kills = functools.partial(experiment, killed, whole, 1, 1, np.random.default_rng(0), 1)
    assert compare_kills() == ([], {"different": [], "left": []})
    (killed.work / "metrics.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    (killed.work / ".lock").touch()
    assert compare_kills() == ([], {"different": ["metrics.jsonl"], "left": ["work/.lock"]})
