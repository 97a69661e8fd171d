"""Tables, figures and pages of studies, against numbers by hand."""

from benchmarks.study_base import Study, grid
from benchmarks.study_report import ALL, LOG, cell, cells, columns_of, label, page, report, sizes, table


def test_interquartile_mean_and_interval_by_hand():
    """Of four values 0, 0, 0, 4 a resample has k fours, with k binomial (4, 1/4).

    The mean of the middle two is 0 for k < 2, 2 for k = 2, 4 for more, and P(k >= 3) is 13/256, more than 2.5 %.
    """
    assert cell([[0, 0, 0, 4]])[:3] == (0, 0, 4)
    assert cell([[1, 2, 3, 4, 10]]).mean == 3  # the middle three of five
    assert cell([[0, 1]])[:3] == (0.5, 0, 1)  # both alike has probability 1/4 each
    assert str(cell([[7.0]])) == "7.000"


def test_resamples_are_drawn_within_each_task():
    """Two tasks with one value each: every resample has both, so that there is nothing to vary."""
    assert cell([[0], [4]])[:3] == (2, 2, 2)


ROW = {"seconds": {"policy": 30.0}, "machine": {"cores": 2, "processor": "P", "versions": {"jax": "1"}, "commit": "c"}}
STUDY = Study(
    "two", "Which?", grid(config=("maze",), bins=(3, 10), policy=("a", "b")), {"asm.width": 8}, x="bins", pooled=True
)


def rows():
    values = {(3, "a"): [1, 2, 3], (10, "a"): [4, 5, 6], (3, "b"): [20, 20, 20]}
    return [
        {
            "settings": {"config": "maze", "bins": bins, "policy": policy},
            "measures": {"return": found, "peak_mb": [9]},
            **ROW,
        }
        for (bins, policy), found in values.items()
    ]


def test_a_table_by_hand():
    found = cells(STUDY, rows(), "return")[""]
    assert found["a"][ALL].mean == 3.5  # the middle four of 1 … 6
    assert found["a"]["3"].mean == 2
    lines = table(STUDY, found).splitlines()
    assert lines[0] == "| policy \\ bins | 3 | 10 | all |"
    assert lines[3] == "| b | 20.0 [20.0, 20.0] |  | 20.0 [20.0, 20.0] |"


def test_numbers_ascend_and_words_stay_in_the_order_of_the_runs():
    one = cell([[1.0]])
    assert columns_of({"a": {"32": one, ALL: one, "8": one}, "b": {"0.5": one}}) == ["0.5", "8", "32", ALL]
    assert columns_of({"a": {"medium": one, "expert": one}}) == ["medium", "expert"]


def test_numbers_in_names_have_the_names_of_their_fields():
    fields = {"policy": "spin", "bc.top_fraction": 0.25, "maze.actuators": 7}
    assert label(fields, ("policy", "bc.top_fraction")) == "spin, top_fraction 0.25"
    assert label(fields, ("maze.actuators", "bins")) == "actuators 7"


def test_the_mean_of_the_log_is_shown_where_all_runs_have_one_log():
    of_logs = [row | {"data_return": mean} for row, mean in zip(rows(), (1.5, 7.0, 2.5), strict=True)]
    assert LOG not in cells(STUDY, rows(), "return")[""]
    assert list(cells(STUDY, of_logs, "return")[""][LOG]) == ["10"]  # with 3 bins, the runs have two logs
    assert table(STUDY, cells(STUDY, of_logs, "return")[""]).splitlines()[-1] == "| mean of the log |  | 7.000 |  |"
    assert LOG not in cells(STUDY, of_logs, "peak_mb")[""]


def test_a_page_has_the_question_the_command_and_the_findings_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.study_report.FINDINGS", tmp_path)
    found = {"runs": rows(), "seeds": 3, "size": {"asm.width": 8}}
    assert "It is so." not in page(STUDY, found)
    (tmp_path / "two.md").write_text("It is so.\n")
    text = report(STUDY, found, tmp_path / "docs").read_text()
    for part in ("Which?", "It is so.", "benchmarks.study two --root=DIR`: 3 of 4 runs, 3 seeds each", "`asm.width=8`"):
        assert part in text
    assert (tmp_path / "docs" / "two.png").stat().st_size > 5000


def test_the_hours_of_a_study_have_an_asm_that_runs_share_once():
    seconds = {"seconds": {"pretrain": 600.0, "policy": 60.0}}
    shared = [row | seconds | {"asm": "one"} for row in rows()[:2]]
    other = rows()[2] | seconds | {"asm": "another"}
    found = {"runs": [*shared, other], "size": {}, "seeds": 3}
    assert "23 minutes of processes" in page(STUDY, found)


def test_a_page_names_every_commit_that_its_runs_are_of():
    first, *others = rows()
    of_older = first | {"machine": ROW["machine"] | {"commit": "b"}}
    assert ", commits b, c. Size" in page(STUDY, {"runs": [of_older, *others], "seeds": 3, "size": {}})
    assert ", commit c. Size" in page(STUDY, {"runs": rows(), "seeds": 3, "size": {}})


def test_a_page_tells_the_fields_that_a_configuration_has_beside_the_size():
    runs = [
        {"settings": {"config": "maze", "preset": "quick", "num_seeds": 5, "asm.width": 8, "bins": 3, **own}, **ROW}
        for own in (
            {"policy": "a", "maze.actuators": 7, "train.n_step": 1},
            {"policy": "b", "maze.actuators": 7, "train.n_step": 10},
        )
    ]
    runs.append({**runs[0], "settings": runs[0]["settings"] | {"config": "fish_swim", "train.n_step": 10}})
    found = {"size": {"asm.width": 8}, "runs": runs}
    assert sizes(STUDY, found) == (
        "`asm.width=8`; maze: `maze.actuators=7`; fish_swim: `maze.actuators=7`, `train.n_step=10`"
    )


def test_the_size_leaves_out_what_no_run_trains():
    found = {"size": {"iql.critic_width": 1, "cql.critic_width": 2, "bc.learning_rate": 3, "spin_distill.steps": 4}}
    settings = [{"config": "maze", "policy": "spin"}, {"config": "maze", "policy": "spin_distill", "learner": "cql"}]
    found["runs"] = [{"settings": each, **ROW} for each in settings]
    assert sizes(STUDY, found) == "`iql.critic_width=1`, `cql.critic_width=2`, `spin_distill.steps=4`"
