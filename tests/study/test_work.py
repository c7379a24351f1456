"""Jobs are run as their commands would be, in processes that outlive them."""

from __future__ import annotations

import json

from study.plan import DONE, Job
from study.work import run_all

SMALL = [
    "data.train.size=16",
    "data.val.size=2",
    "data.test.size=2",
    "data.batch_size=2",
    "rollout.max_new_tokens=4",
    "trainer.max_steps=1",
    "trainer.val_check_interval=null",
]


def test_jobs_are_run_and_what_goes_wrong_is_told(models, tmp_path):
    policies = [f"student.name={models}/student", f"teacher.name={models}/teacher"]
    good = Job("table1", (*SMALL, *policies, "seed=3"), tmp_path / "good", False)
    bad = Job("table1", (*SMALL, *policies, f"student.name={tmp_path}/missing"), tmp_path / "bad", False)
    good.folder.mkdir()
    (good.folder / "left behind").touch()

    ended = dict(run_all([good, bad], 1, tmp_path / "logs"))

    assert ended[good] is None
    assert good.done
    assert json.loads((good.folder / DONE).read_text())["seconds"] > 0
    assert json.loads((good.folder / "summary.json").read_text())["steps"] == 1
    assert "seed: 3" in (good.folder / "config.yaml").read_text()
    assert not (good.folder / "left behind").exists()
    assert "there is no such folder" in ended[bad]
    assert not bad.done


def test_nothing_to_run(tmp_path):
    assert list(run_all([], 2, tmp_path / "logs")) == []
    assert not (tmp_path / "logs").exists()
