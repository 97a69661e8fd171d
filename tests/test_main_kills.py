"""`python main.py` under SIGKILL in every stage: what it ends with is what it would have ended with."""

import json
import os
import signal
import time

import numpy as np
import pytest
from smoke_runs import arrays, start

pytestmark = pytest.mark.slow
KILLS = {
    # what has to exist when SIGKILL comes, and what must not exist yet
    "data": ("data/.factorised_dmc_pieces/*/random/*.npz", "data/factorised_dmc/*/1.0.0/dataset_info.json"),
    "pretrain": ("work/pretrain/state/[1-9][0-9]", "work/pretrain/summary.json"),
    "policy": ("work/policy/state/[1-9][0-9]", "work/policy/summary.json"),
}
LONGER = ("--config.data.episodes=22", "--config.asm.num_epochs=3", "--config.data.level=expert[:4]")


def test_sigkill_in_every_stage_changes_no_parameter(tmp_path):
    code, _, error = start(tmp_path / "whole" / "work", tmp_path / "whole" / "data", *LONGER)
    assert code == 0, error
    cut, told = tmp_path / "cut", ""
    for stage, (present, absent) in KILLS.items():
        process = start(cut / "work", cut / "data", *LONGER, wait=False)
        deadline = time.monotonic() + 300
        while not list(cut.glob(present)):
            assert process.poll() is None, f"{stage}: ended before it could be killed: {process.communicate()[1]}"
            assert time.monotonic() < deadline, f"{stage}: nothing to kill after 300 s"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        told += process.communicate()[1]
        assert not list(cut.glob(absent)), f"{stage}: finished before it was killed"
    code, _, error = start(cut / "work", cut / "data", *LONGER)
    assert code == 0, error
    told += error
    for stage, steps in (("pretrain", (12, 24)), ("policy", (20, 40, 60))):  # neither from the start nor at the end
        assert any(f"{stage}: resuming from step {step} of" in told for step in steps), told
    for store in ("asm", "pretrain/state", "policy/state"):
        whole, resumed = arrays(tmp_path / "whole" / "work" / store), arrays(cut / "work" / store)
        assert whole.keys() == resumed.keys()
        assert all(np.array_equal(whole[name], resumed[name]) for name in whole), store
    results = [json.loads((root / "work" / "results.json").read_text()) for root in (tmp_path / "whole", cut)]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]
    assert results[0]["return_mean"] == results[1]["return_mean"]
