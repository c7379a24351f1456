"""Checkpoint files are whole or absent, and checked when they are read."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from dopd_lightning.errors import ConfigError, WriteError
from dopd_lightning.training.checkpoint_file import WholeCheckpointIO, read_checkpoint


def of_a_run(**weights: Any) -> dict[str, Any]:
    """The parts of a checkpoint, in little."""
    step = weights.pop("global_step", 3)
    return {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": weights or {"a": torch.ones(2)},
        "global_step": step,
        "loops": {"fit_loop": {}},
        "optimizer_states": [{"state": {}}],
        "lr_schedulers": [],
    }


class TestWriting:
    def test_what_is_written_is_read(self, tmp_path):
        path = tmp_path / "new" / "run.ckpt"
        WholeCheckpointIO().save_checkpoint(of_a_run(), path)
        assert read_checkpoint(path, to_train=True)["state_dict"]["a"].tolist() == [1, 1]
        assert [each.name for each in path.parent.iterdir()] == ["run.ckpt"]

    def test_what_was_there_stays_if_writing_fails(self, tmp_path, monkeypatch):
        path = tmp_path / "run.ckpt"
        WholeCheckpointIO().save_checkpoint(of_a_run(global_step=1), path)

        def full(checkpoint: Any, file: Any) -> None:
            file.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(WriteError, match=r"run\.ckpt' could not be written: No space left on device; earlier"):
            WholeCheckpointIO().save_checkpoint(of_a_run(global_step=2), path)
        assert read_checkpoint(path)["global_step"] == 1
        assert [each.name for each in tmp_path.iterdir()] == ["run.ckpt"]

    def test_a_folder_that_cannot_be_made_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(WriteError, match="could not be written: "):
            WholeCheckpointIO().save_checkpoint({}, tmp_path / "file" / "run.ckpt")


class TestReading:
    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file or directory; give the path"):
            read_checkpoint(tmp_path / "deleted.ckpt")

    def test_a_file_that_is_cut_short(self, tmp_path):
        path = tmp_path / "run.ckpt"
        torch.save(of_a_run(a=torch.ones(1000)), path)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ConfigError, match=r"is incomplete \(1000 bytes\)"):
            read_checkpoint(path)

    def test_a_byte_of_a_weight_that_has_changed(self, tmp_path):
        path = tmp_path / "run.ckpt"
        torch.save(of_a_run(a=torch.full((1000,), 0.5)), path)
        data = path.read_bytes()
        middle = data.index(torch.full((10,), 0.5).numpy().tobytes()) + 400
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        with pytest.raises(ConfigError, match=r"run.ckpt' is damaged: the checksum of .*data/0 is wrong"):
            read_checkpoint(path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"is incomplete \(0 bytes\)"),
            (b"PK\x03\x04 and no archive", "is not a checkpoint of a run"),
            ([1, 2], "its 'state_dict' is missing or invalid"),
            ({"config": [1, 2]}, "its 'config' is missing or invalid"),
            ({"global_step": None}, "its 'global_step' is missing or invalid"),
            ({"optimizer_states": None}, "its 'optimizer_states' is missing or invalid"),
            ({"optimizer_states": []}, "its 'optimizer_states' is missing or invalid"),
            ({"lr_schedulers": None}, "its 'lr_schedulers' is missing or invalid"),
            ({"loops": None}, "its 'loops' is missing or invalid"),
            ({"loops": {}}, "its 'loops' is missing or invalid"),
            ({"loops": {"fit_loop": {"state_dict": {"combined_loader": [1]}}}}, "its 'loops' is missing or invalid"),
            ({"pytorch-lightning_version": None}, "its 'pytorch-lightning_version' is missing or invalid"),
            ({"state_dict": {"a": torch.tensor([1.0, torch.nan])}}, "not finite, in state_dict.a; give an earlier one"),
            ({"optimizer_states": [{"state": {0: torch.tensor(torch.inf)}}]}, r"in optimizer_states.0.state.0;"),
        ],
        ids=str,
    )
    def test_what_training_cannot_go_on_from(self, content, message, tmp_path):
        path = tmp_path / "run.ckpt"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(of_a_run() | content if isinstance(content, dict) else content, path)
        with pytest.raises(ConfigError, match=f"ckpt_path: .*run.ckpt'.* {message}"):
            read_checkpoint(path, to_train=True)

    def test_a_folder_and_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.ckpt")
        for path in (tmp_path, tmp_path / "pipe.ckpt"):
            with pytest.raises(ConfigError, match=f"ckpt_path: '{path}': is not a regular file; give the path"):
                read_checkpoint(path)

    def test_weights_alone_are_enough_where_nothing_is_trained(self, tmp_path):
        torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, tmp_path / "run.ckpt")
        assert read_checkpoint(tmp_path / "run.ckpt")["state_dict"] == {}
