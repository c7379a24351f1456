"""Files are whole or absent, and Lightning goes on from them as if never stopped."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from dopd_lightning.data import DOPDDataModule
from dopd_lightning.errors import ConfigError, WriteError
from dopd_lightning.training.checkpoints import WholeCheckpointIO, go_on_in_data, mend_progress, read_checkpoint


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
        with pytest.raises(ConfigError, match=r"not all of one \(1000 bytes\)"):
            read_checkpoint(path)

    def test_a_byte_of_a_weight_that_has_changed(self, tmp_path):
        path = tmp_path / "run.ckpt"
        torch.save(of_a_run(a=torch.full((1000,), 0.5)), path)
        data = path.read_bytes()
        middle = data.index(torch.full((10,), 0.5).numpy().tobytes()) + 400
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        with pytest.raises(ConfigError, match=r"run.ckpt' is damaged: .*data/0 in it is not what was saved"):
            read_checkpoint(path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"not all of one \(0 bytes\)"),
            (b"PK\x03\x04 and no archive", "is not a checkpoint of a run"),
            ([1, 2], "its 'state_dict' is missing, or is not what a run saves there"),
            ({"config": [1, 2]}, "its 'config' is missing, or"),
            ({"global_step": None}, "its 'global_step' is missing, or"),
            ({"optimizer_states": None}, "its 'optimizer_states' is missing, or"),
            ({"optimizer_states": []}, "its 'optimizer_states' is missing, or"),
            ({"lr_schedulers": None}, "its 'lr_schedulers' is missing, or"),
            ({"loops": None}, "its 'loops' is missing, or"),
            ({"loops": {}}, "its 'loops' is missing, or"),
            ({"loops": {"fit_loop": {"state_dict": {"combined_loader": [1]}}}}, "its 'loops' is missing, or"),
            ({"pytorch-lightning_version": None}, "its 'pytorch-lightning_version' is missing, or"),
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
            with pytest.raises(ConfigError, match=f"ckpt_path: '{path}': is no regular file; give the path"):
                read_checkpoint(path)

    def test_weights_alone_are_enough_where_nothing_is_trained(self, tmp_path):
        torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, tmp_path / "run.ckpt")
        assert read_checkpoint(tmp_path / "run.ckpt")["state_dict"] == {}


class Reader(L.LightningModule):
    """Notes what it reads, and goes on as DOPDModule does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[list[str]] = []
        self.validations = 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch["prompt"])
        return self.layer(torch.ones(1)).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validations += 1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        steps = int(self.trainer.estimated_stepping_batches)  # for which Lightning asks for the data before their time
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        mend_progress(checkpoint)

    def on_train_start(self) -> None:
        go_on_in_data(self.trainer)


class SaveAlways(L.Callback):
    """Wherever others may save: after a batch (b), a validation (v), an epoch (e), and training (t)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _save(self, trainer: L.Trainer, moment: str) -> None:
        trainer.save_checkpoint(self.folder / f"{moment}{trainer.global_step}.ckpt", weights_only=False)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._save(trainer, "b")

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._save(trainer, "v")

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._save(trainer, "e")

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._save(trainer, "t")


def fit(folder: Path, ckpt_path: Path | None = None, workers: int = 0, **settings: Any) -> Reader:
    folder.mkdir()
    model = Reader()
    examples: list[Any] = [{"prompt": str(n)} for n in range(20)]
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=[SaveAlways(folder)],
        **quiet,
        **settings,
    )
    data = DOPDDataModule(train=examples, val=examples[:1], batch_size=4, seed=5, num_workers=workers)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return model


@pytest.mark.filterwarnings("ignore:`weights_only` was not set")
@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": 1},
        {"max_steps": 12},
        {"max_epochs": 3},
        {"max_epochs": 3, "max_steps": 12},
        {"max_epochs": 3, "val_check_interval": 2},
        {"max_epochs": 3, "limit_val_batches": 0},
        {"max_steps": 12, "val_check_interval": 3, "check_val_every_n_epoch": None},
    ],
    ids=str,
)
def test_resumed_at_any_moment_and_again_it_reads_what_was_left(settings, tmp_path):
    """Five batches an epoch. Lightning without the mending goes wrong at ends of epochs."""
    whole = fit(tmp_path / "whole", **settings)
    counts: Counter[str] = Counter()
    for path in sorted((tmp_path / "whole").glob("*.ckpt")):
        moment, step = path.stem[0], int(path.stem[1:])
        if step not in (3, 4, 5, 6, 10):
            continue
        folder = tmp_path / path.stem
        resumed = fit(folder, path, **settings)
        assert resumed.seen == whole.seen[step:], path.stem
        if moment in "ve":  # after a batch, Lightning leaves out a validation that was due
            later = [each for each in (tmp_path / "whole").glob("v*.ckpt") if int(each.stem[1:]) > step]
            assert resumed.validations == len(later), path.stem
        for second in (5, 9, 10):
            for again in folder.glob(f"[bve]{second}.ckpt"):
                assert fit(tmp_path / f"{path.stem}-{again.stem}", again, **settings).seen == whole.seen[second:]
                counts[moment] += 1
    assert counts["b"] > 0
    assert counts["e"] > 0 or settings == {"max_epochs": 1}, "nothing comes after the end"


@pytest.mark.filterwarnings("ignore:`weights_only` was not set")
def test_a_run_that_max_steps_ended_within_an_epoch_goes_on_in_it(tmp_path):
    whole = fit(tmp_path / "whole", max_epochs=2)
    fit(tmp_path / "short", max_epochs=2, max_steps=3)
    resumed = fit(tmp_path / "more", tmp_path / "short" / "t3.ckpt", max_epochs=2)
    assert resumed.seen == whole.seen[3:]


@pytest.mark.filterwarnings("ignore:`weights_only` was not set")
def test_so_it_does_with_workers_which_read_ahead(tmp_path):
    whole = fit(tmp_path / "whole", workers=2, max_epochs=2)
    for step, moment in ((3, "b"), (5, "e"), (7, "b")):
        resumed = fit(tmp_path / f"{step}", tmp_path / "whole" / f"{moment}{step}.ckpt", workers=2, max_epochs=2)
        assert resumed.seen == whole.seen[step:]
