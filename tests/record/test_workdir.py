"""A workdir believes no file of its own that is damaged."""

import json

import pytest
from ml_collections import ConfigDict

from spin_jax.errors import WorkdirError
from spin_jax.record.workdir import SUMMARIES, Workdir, read_config

CONFIG = ConfigDict({"task": "cheetah_run", "asm": {"width": 8}})


@pytest.fixture
def workdir(tmp_path):
    return Workdir(str(tmp_path / "work"), CONFIG)


@pytest.mark.parametrize("lie", [b"", b'{"task": "che', b"[]", b"\xff\xfe", None])
def test_a_damaged_configuration_is_named_with_the_way_out(workdir, lie):
    workdir.stage("data")
    path = workdir.path / "config.json"
    assert read_config(workdir.path) == CONFIG.to_dict()
    path.unlink()
    path.mkdir() if lie is None else path.write_bytes(lie)
    with pytest.raises(WorkdirError, match=f"{path} is .*Restore config.json from a copy, or choose another"):
        Workdir(str(workdir.path), CONFIG)


@pytest.mark.parametrize("stage", SUMMARIES)
def test_a_summary_with_wrong_keys_is_not_believed(workdir, stage):
    assert workdir.summary(stage) is None
    path = workdir.stage(stage) / "summary.json"
    for lie in ("", "{}", '{"seconds": "long"}', json.dumps({"seconds": 1.0})[:-2]):
        path.write_text(lie)
        with pytest.raises(WorkdirError, match=f"{path} is .*Delete it and run --stage={stage} again"):
            workdir.summary(stage)


def test_a_summary_comes_back_as_it_was_written(workdir):
    summary = {"seconds": 1.5, "directory": "/data", "data_returns": {"medium": 3}}
    assert workdir.finish("data", summary) == workdir.summary("data") == summary


def test_what_a_kill_before_the_first_word_leaves_is_no_other_run(workdir):
    workdir.path.mkdir()
    (workdir.path / ".config.json.0123456789abcdef.tmp").write_text("{")
    assert Workdir(str(workdir.path), CONFIG).stage("data").is_dir()
    (workdir.path / "config.json").unlink()
    (workdir.path / "notes.txt").write_text("mine")
    with pytest.raises(WorkdirError, match="is not empty and holds no config.json"):
        Workdir(str(workdir.path), CONFIG)
