"""Lock of a run's folder, and the files removed from it."""

from __future__ import annotations

import errno
import os
import re
import socket

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from dopd_lightning.cli.own_folder import clear_killed_attempts, own_folder
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError


def config_of(folder):
    return OmegaConf.create({"paths": {"output_dir": str(folder)}})


@pytest.mark.parametrize("stage", ["fit", "export", "privilege", "compare"])
def test_a_second_run_is_told_who_is_at_work(configured, tmp_path, stage):
    given = ["ckpt_path=any", "privilege.kind=none"] + (["runs=any"] if stage == "compare" else [])
    holder = f"process {os.getpid()} on {socket.gethostname()} since "
    with (
        own_folder(config_of(tmp_path / "run")),
        pytest.raises(ConfigError, match=rf"paths.output_dir: another run is at work in '.*run' \({re.escape(holder)}"),
    ):
        run_stage(configured(f"stage={stage}", *given))


def test_a_killed_process_holds_nothing(tmp_path):
    (tmp_path / ".lock").write_text(f"process 4194305 on {socket.gethostname()} since 2026-01-01 00:00:00")
    with own_folder(config_of(tmp_path)):
        pass


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def acquire(lock, timeout):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with own_folder(config_of(tmp_path)):
        pass
    assert "does not support locks" in caplog.text


def test_what_killed_attempts_left_half_written_is_removed_unless_a_run_is_at_work_there(tmp_path):
    parts = {}
    for name in ("own", "killed", "running", "foreign"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        parts[name] = [
            tmp_path / name / "checkpoints" / ".step=3.ckpt.part",
            tmp_path / name / ".divergence_map.html.part",
        ]
        for part in parts[name]:
            part.write_text("half")
    (tmp_path / "killed" / ".lock").touch()
    last = tmp_path / "own" / "checkpoints" / ".last.ckpt.part"
    last.symlink_to("nowhere")
    with own_folder(config_of(tmp_path / "own")), FileLock(tmp_path / "running" / ".lock"):
        assert not last.is_symlink()
        clear_killed_attempts([tmp_path])
    left = {name for name, files in parts.items() for part in files if part.exists()}
    assert left == {"running", "foreign"}, "of the last, nobody knows whether a run is at work"


def test_a_run_is_not_begun_over_another(configured, tmp_path):
    run_stage(configured())
    before = {path: path.read_bytes() for path in tmp_path.rglob("[!.]*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"'.*run' has summary.json of another run, which this one would overwrite"):
        run_stage(configured("optimizer.lr=1e-3"))
    assert {path: path.read_bytes() for path in before} == before


def test_nor_an_export_or_a_prediction(configured, tmp_path):
    run_stage(configured("callbacks.export_student=null"))
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    export = ["stage=export", f"ckpt_path={checkpoint}"]
    run_stage(configured(*export, sets=()))
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").stage == "fit"
    assert OmegaConf.load(tmp_path / "run" / "config_export.yaml").stage == "export"
    with pytest.raises(ConfigError, match=r"'.*run' has student of another run, which .*; choose another folder$"):
        run_stage(configured(*export, sets=()))

    run_stage(configured("stage=predict", sets=("predict",)))
    with pytest.raises(ConfigError, match=r"'.*run' has predictions\.jsonl of another run, which"):
        run_stage(configured("stage=predict", sets=("predict",)))
