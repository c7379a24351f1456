"""A watching callback never ends a run, whatever happens in it, and stays in step in all processes."""

from __future__ import annotations

import logging

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from dopd_lightning import callbacks
from dopd_lightning.training.watcher import HOOKS, Watcher

WATCHERS = ["CollapseGuard", "DivergenceMap", "LiveConsole", "Speed"]


def test_all_that_watch_are_watchers_and_what_saves_is_none():
    found = {name: getattr(callbacks, name) for name in callbacks.__all__ if isinstance(getattr(callbacks, name), type)}
    assert sorted(name for name, kind in found.items() if issubclass(kind, Watcher)) == WATCHERS


@pytest.mark.parametrize("name", WATCHERS)
def test_every_hook_is_guarded_inherited_ones_too(name):
    watcher = getattr(callbacks, name)
    used = [hook for hook in HOOKS if getattr(watcher, hook) is not getattr(Callback, hook)]
    assert used
    assert all(hasattr(getattr(watcher, hook), "is_guarded") for hook in used)


class Fragile(Watcher):
    def __init__(self):
        self.calls = []

    def on_train_batch_end(self, *_):
        self.calls.append("batch")
        raise KeyError("gone [/bold]")

    def on_train_end(self, *_):
        self.calls.append("end")


class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_an_error_is_one_warning_and_the_last_that_is_heard_of_it(caplog, tmp_path):
    fragile = Fragile()
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[fragile], default_root_dir=tmp_path, **dict.fromkeys(quiet, False)
    )
    with caplog.at_level(logging.DEBUG), pytest.warns(UserWarning, match="Fragile") as warned:
        trainer.fit(Line(), torch.utils.data.DataLoader(torch.ones(3, 1)))
    assert trainer.global_step == 3
    assert fragile.calls == ["batch"]
    (said,) = [str(each.message) for each in warned if "Fragile" in str(each.message)]
    assert said == (
        "the callback Fragile failed and is switched off for the rest of the run, which goes on: "
        "KeyError: 'gone [/bold]'"
    )
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.levelno == logging.DEBUG


def test_the_traceback_is_shown_to_who_asks_for_it(monkeypatch, caplog):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.warns(UserWarning, match="Fragile"):
        Fragile().on_train_batch_end(None)
    assert "raise KeyError" in caplog.text
