"""Times of saving, and files that stay. (Exact resuming: tests/distributed and tests/cli/test_resume.py.)"""

from __future__ import annotations

import signal
from pathlib import Path

import lightning as L
import pytest
from torch.utils.data import DataLoader

from dopd_lightning.callbacks import ResumableCheckpoint, RunStopped
from dopd_lightning.data import collate
from dopd_lightning.errors import ConfigError
from dopd_lightning.rollout import DatasetRollout
from dopd_lightning.training.module import DOPDModule

EXAMPLES = [{"prompt": f"Add {n} 2.", "completion": f"{n}", "answer": n, "privileged": "x"} for n in range(6)]


@pytest.fixture
def saved(make_policy, tokenizer, tmp_path, monkeypatch):
    """Fit six batches, and return the names that were saved, in order, and what is left."""

    def run(settings, **options):
        names: list[str] = []
        module = DOPDModule(
            make_policy(0), make_policy(1), tokenizer=tokenizer, rollout=DatasetRollout(max_new_tokens=4)
        )
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[ResumableCheckpoint(tmp_path / "saved", **options)],
            num_sanity_val_steps=0,
            **settings,
        )
        save = trainer.save_checkpoint
        monkeypatch.setattr(trainer, "save_checkpoint", lambda path, **kw: (names.append(path.stem), save(path, **kw)))
        loader = DataLoader(EXAMPLES, batch_size=1, collate_fn=collate)
        trainer.fit(module, loader, loader if settings.get("limit_val_batches", 1) else None)
        return names, sorted(path.name for path in (tmp_path / "saved").iterdir())

    return run


def test_every_so_many_steps_and_at_the_end_with_the_newest_left(saved):
    names, left = saved({"limit_val_batches": 0}, every_n_steps=2, keep=2)
    assert names == ["step=2", "step=4", "step=6"]
    assert left == ["last.ckpt", "step=4.ckpt", "step=6.ckpt"]


def test_the_link_leads_to_the_newest(saved, tmp_path):
    saved({"limit_val_batches": 0}, every_n_steps=4, keep=9)
    assert (tmp_path / "saved" / "last.ckpt").resolve() == (tmp_path / "saved" / "step=6.ckpt").resolve()


def test_later_checkpoints_of_another_attempt_stay(saved, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "step=9.ckpt").touch()
    _, left = saved({"limit_val_batches": 0}, every_n_steps=2, keep=1)
    assert left == ["last.ckpt", "step=6.ckpt", "step=9.ckpt"]


def test_a_second_ctrl_c_ends_the_process_at_once(saved, monkeypatch, capfd):
    handlers = []

    def interrupted(trainer, *args, **options):
        if trainer.global_step == 2:
            signal.raise_signal(signal.SIGINT)
            handlers.append(signal.getsignal(signal.SIGINT))
        save(trainer, *args, **options)

    save = L.Trainer.save_checkpoint
    monkeypatch.setattr(L.Trainer, "save_checkpoint", interrupted)
    before = signal.getsignal(signal.SIGINT)  # of tests in the background, one that ignores it
    with pytest.raises(RunStopped, match="stopped by SIGINT after 3 steps; saved "):
        saved({"limit_val_batches": 0}, every_n_steps=1)
    assert handlers == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGINT) is before
    assert "saving after this step" in capfd.readouterr().err


def test_after_a_validation_and_not_before_it(saved, monkeypatch):
    order: list[str] = []
    save = L.Trainer.save_checkpoint

    def noted(trainer, *args, **options):
        order.append(f"saved {trainer.global_step}")
        save(trainer, *args, **options)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", noted)
    monkeypatch.setattr(DOPDModule, "on_validation_epoch_end", lambda module: order.append("validated"))
    saved({"val_check_interval": 3}, every_n_steps=1)
    first = ["saved 1", "saved 2", "validated", "saved 3"]
    assert order == [*first, "saved 4", "saved 5", "validated", "saved 6"]


def test_not_while_gradients_accumulate(saved):
    names, _ = saved({"limit_val_batches": 0, "accumulate_grad_batches": 3}, every_n_steps=1)
    assert names == ["step=1", "step=2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps: 0 must be at least 1"),
        ({"keep": 0}, "keep: 0 must be at least 1"),
        ({"signals": ["SIGSTOPP"]}, "signals: 'SIGSTOPP' is no signal here"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        ResumableCheckpoint(Path("x"), **options)
