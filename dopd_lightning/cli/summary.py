"""Outputs at the end of a run: a table on the console, ``summary.json`` and the resolved configuration."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, Timer
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from dopd_lightning.callbacks import CollapseGuard
from dopd_lightning.io.files import write_whole
from dopd_lightning.training.module import DOPDModule

_STEPS, _REGIME, _END = "tally/steps", "tally/regime/", "tally/end/"


@dataclass
class Summary:
    """Summary of one fit.

    Attributes:
        accuracy: greedy accuracy on ``data.test`` of ``teacher``, ``student_before``, ``student_after``, as far as
            measured.
        problems: how many problems that is.
        steps: optimizer steps.
        seconds: wall-clock time of training, evaluation around it not included.
        regimes: share of each regime among all response tokens of this run, where the fusion rule routes.
    """

    accuracy: dict[str, float] = field(default_factory=dict)
    problems: int = 0
    steps: int = 0
    seconds: float = 0.0
    regimes: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        path = folder / "summary.json"
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n", "the summary")
        return path

    def print(self, folder: Path) -> None:
        """The table at the end of a run: accuracies, regimes, and where things are."""
        table = Table(title=f"{self.steps} steps in {self.seconds:.0f} s", show_header=False)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for who, accuracy in self.accuracy.items():
            table.add_row(who.replace("_", " "), f"{accuracy:.1%} of {self.problems} held-out problems")
        for regime, share in self.regimes.items():
            table.add_row(f"regime {regime}", f"{share:.1%} of response tokens")
        for name in (
            "divergence_map.html",
            "student",
            "summary.json",
            "config.yaml",
            "checkpoints",
            "csv",
            "tensorboard",
            "wandb",
        ):
            if (folder / name).exists():
                table.add_row(name, os.path.relpath(folder / name))
        Console(markup=False, emoji=False).print(table)  # names of folders are no markup


class Tally(L.Callback):
    """Keeps what a summary says of training among the Trainer's metrics.

    They are all that comes back from a fit in processes of its own (``strategy=ddp_spawn``).
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DOPDModule)
        trainer.callback_metrics[_STEPS] = torch.tensor(trainer.global_step)
        trainer.callback_metrics[_END + _reason(trainer)] = torch.tensor(0.0)
        for regime, share in pl_module.regime_counts.shares().items():
            trainer.callback_metrics[_REGIME + regime] = torch.tensor(share, dtype=torch.float64)  # as it is


def take_tally(metrics: dict[str, float]) -> tuple[int, str, dict[str, float]] | None:
    """Take steps, the reason of the end and the shares of regimes out of ``metrics``; None if nothing was trained."""
    if _STEPS not in metrics:
        return None
    (end,) = [name for name in metrics if name.startswith(_END)]
    del metrics[end]
    regimes = {name: metrics.pop(name) for name in list(metrics) if name.startswith(_REGIME)}
    shares = {name.removeprefix(_REGIME): share for name, share in regimes.items()}
    return int(metrics.pop(_STEPS)), end.removeprefix(_END), shares


def _reason(trainer: L.Trainer) -> str:
    """Say what ended a run before ``max_steps``."""
    for callback in trainer.callbacks if trainer.should_stop else ():  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (callback.time_remaining() or 0) <= 0:
            return "when trainer.max_time was over"
        if isinstance(callback, CollapseGuard) and callback.stopped:
            return "by callbacks.collapse_guard.stop"
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message is not None:
            return f"by early stopping ({callback.stopping_reason_message})"
    if trainer.should_stop:
        return "because a callback stopped it"
    return at_max_epochs(trainer)


def at_max_epochs(trainer: L.Trainer) -> str:
    """Say that the epochs ended a run."""
    return f"at max_epochs={trainer.max_epochs}; raise trainer.max_epochs"


def write_config(config: DictConfig, folder: Path) -> None:
    """Write every value as the run saw it to ``config.yaml``, or beside it where that is of another stage's run."""
    path = folder / "config.yaml"
    if path.exists() and OmegaConf.select(OmegaConf.load(path), "stage") != config.stage:
        path = folder / f"config_{config.stage}.yaml"
    write_whole(path, OmegaConf.to_yaml(config, resolve=True), "the configuration")
