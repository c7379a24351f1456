"""Lightning resumes from checkpoints of any moment as if never stopped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from dopd_lightning.data import DOPDDataModule
from dopd_lightning.training.progress import go_on_in_data, mend_progress


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
