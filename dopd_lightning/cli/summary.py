"""What a run leaves behind: a table on the console, ``summary.json`` and the resolved configuration."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from dopd_lightning.errors import ConfigError
from dopd_lightning.files import write_whole
from dopd_lightning.module import DOPDModule

_STEPS, _REGIME = "tally/steps", "tally/regime/"


@dataclass
class Summary:
    """Of one fit.

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
        for regime, share in pl_module.regime_counts.shares().items():
            trainer.callback_metrics[_REGIME + regime] = torch.tensor(share, dtype=torch.float64)  # as it is


def take_tally(metrics: dict[str, float]) -> tuple[int, dict[str, float]] | None:
    """The steps, and the shares of regimes, out of ``metrics``; None where there was nothing left to train."""
    if _STEPS not in metrics:
        return None
    regimes = {name: metrics.pop(name) for name in list(metrics) if name.startswith(_REGIME)}
    return int(metrics.pop(_STEPS)), {name.removeprefix(_REGIME): share for name, share in regimes.items()}


def make_folder(config: DictConfig) -> None:
    """Make the run's folder, before anything that would be lost without it.

    Raises:
        ConfigError: if nothing can be written there.
    """
    folder = Path(config.paths.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"paths.output_dir: {str(folder)!r} cannot be written to: {error.strerror}; choose another place with "
            "paths.runs=… or paths.output_dir=…"
        ) from error


def write_config(config: DictConfig, folder: Path) -> None:
    """Every value as the run saw it, in ``config.yaml``."""
    write_whole(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True), "the configuration")
