"""Rows on disk and progress lines."""

import json
import logging

import pytest

from spin_jax.errors import WorkdirError
from spin_jax.record.metrics import MetricsWriter, check_rows, read_rows
from spin_jax.record.progress import Progress, log, watched


def test_resuming_drops_the_rows_that_are_computed_again_and_keeps_counting_seconds(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        for step in (10, 20, 30):
            writer.write(step, loss=step / 10)
    rows = read_rows(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row | {"seconds": 100.0}) + "\n" for row in rows))
    with MetricsWriter(tmp_path, start_step=20) as writer:
        assert writer.seconds >= 100.0
        writer.write(30, loss=9.0)
    assert [(row["step"], row["loss"]) for row in read_rows(tmp_path / "metrics.jsonl")] == [(10, 1), (20, 2), (30, 9)]


def test_seconds_that_passed_after_the_last_row_count(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(20, loss=1.0)
    with MetricsWriter(tmp_path, start_step=20, seconds_before=50.0) as writer:
        assert 50 <= writer.seconds < 60


def test_a_run_that_resumes_at_step_0_keeps_the_row_of_step_0(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(0, exact_match=0.5)
        writer.write(10, loss=1.0)
    with MetricsWriter(tmp_path, start_step=0):
        pass
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [0]


def test_starting_anew_drops_everything(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(0, loss=1.0)
    with MetricsWriter(tmp_path):
        pass
    assert read_rows(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(path.read_text().splitlines(keepends=True)[0]),
        lambda path: path.write_text(path.read_text()[:-4]),
        lambda path: path.write_text(path.read_text().replace("0.25", "0.35")),
    ],
    ids=["gone", "cut between lines", "cut in a line", "a digit changed"],
)
def test_rows_that_are_not_as_their_stage_left_them_are_named(tmp_path, lines, damage):
    with MetricsWriter(tmp_path) as writer:
        writer.write(0, loss=0.5)
        writer.write(10, loss=0.25)
    path = tmp_path / "metrics.jsonl"
    left = writer.sha256()
    check_rows(path, left)
    assert lines.seen == []
    damage(path)
    check_rows(path, None)  # a stage of a version that recorded nothing
    assert lines.seen == []
    check_rows(path, left)
    assert len(lines.seen) == 1
    assert f"{path} is not as its stage left it" in lines.seen[0]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path, lines):
    (tmp_path / "rows").write_text('{"step": 1, "seconds": 1}\n{"step": 2, "sec')
    assert [row["step"] for row in read_rows(tmp_path / "rows")] == [1]
    assert lines.seen == []
    assert read_rows(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"step": 2, "seco',
        b"\x00\x00\x00",
        b"\xff\xfe{}",
        b"",
        b"[2]",
        b"2",
        b'{"step": "2", "seconds": 2}',
        b'{"step": 2}',
        b"{}",
    ],
)
def test_a_damaged_line_takes_no_other_row_with_it(tmp_path, lines, damaged):
    """Neither when rows are read nor when a run resumes."""
    path = tmp_path / "metrics.jsonl"
    rows = [b'{"step": %d, "seconds": %d}' % (step, step) for step in (1, 3, 4, 9)]
    path.write_bytes(b"\n".join([rows[0], damaged, *rows[1:], b""]))
    assert [row["step"] for row in read_rows(path)] == [1, 3, 4, 9]
    assert lines.seen == [f"{path}: 1 of 5 lines are damaged and left out"]
    with MetricsWriter(tmp_path, start_step=4) as writer:
        writer.write(5)
    assert [row["step"] for row in read_rows(path)] == [1, 3, 4, 5]
    assert len(lines.seen) == 2  # the damaged line is gone for good


def test_metrics_that_cannot_be_read_are_named_with_the_way_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.mkdir()
    with pytest.raises(WorkdirError, match=f"{path} is a directory.*Move it away"):
        MetricsWriter(tmp_path, 10)


def test_metrics_are_not_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "precious")
    (tmp_path / "metrics.tmp").symlink_to(tmp_path / "precious")
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, loss=2.0)
    assert (tmp_path / "precious").read_text() == "mine"
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1]


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


@pytest.fixture
def lines(monkeypatch):
    """What our logger is told, whatever ran before."""
    handler, level = Lines(), log.level
    monkeypatch.setattr(log, "handlers", [handler])
    log.setLevel(logging.INFO)  # not by monkeypatch: setLevel also forgets which levels were found disabled
    yield handler
    log.setLevel(level)


def test_without_a_terminal_progress_is_plain_lines(lines):
    with Progress("work", 10, start=4, every_seconds=1e9) as progress:
        progress.update(5, loss=0.5)
        progress.update(10, loss=0.25)
    assert len(lines.seen) == 1  # the last step always; none before the interval is over
    assert lines.seen[0].startswith("work: 10/10 steps, ")
    assert lines.seen[0].endswith("0 s left, loss=0.25")


def test_watched_items_pass_unchanged_and_are_counted(lines):
    assert list(watched("abc", "work", "letter")) == ["a", "b", "c"]
    assert len(lines.seen) == 1
    assert lines.seen[0].startswith("work: 3/3 letters, ")
