"""The progress bar, and on request what the student says."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console
from rich.text import Text

from dopd_lightning.data import prompt_text
from dopd_lightning.errors import check_range
from dopd_lightning.fusion import Regime
from dopd_lightning.maps import readable, shown, token_pieces
from dopd_lightning.record import TokenRecord
from dopd_lightning.record.names import LOSS, TOKENS_PER_SECOND, accuracy_name, in_training
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.watcher import Watcher

STYLES = {Regime.LH: "default", Regime.LL: "dim", Regime.HT: "bold blue", Regime.HS: "bold yellow"}
"""Most tokens are LH. Letters that are bold are where the sources part."""

_SHOWN = {
    in_training(LOSS): ("loss", "{:.4f}"),
    in_training(TOKENS_PER_SECOND): ("tokens/s", "{:,.0f}"),
}
_ACCURACY = accuracy_name("val")


class LiveConsole(Watcher, RichProgressBar):
    """Loss, accuracy of the last validation, tokens a second (with :class:`Speed`), and the time that is left.

    Args:
        rollouts: how many responses of the step to show, tokens coloured by regime; 0 for none.
        every_n_steps: optimizer steps between two times that they are shown.
        options: of Lightning's ``RichProgressBar``.

    Raises:
        ConfigError: for a number out of range.
    """

    def __init__(self, rollouts: int = 0, every_n_steps: int = 10, **options: Any) -> None:
        super().__init__(**options)
        self.rollouts = int(check_range("rollouts", rollouts, at_least=0))
        self.every_n_steps = int(check_range("every_n_steps", every_n_steps, at_least=1))

    @property
    def total_train_batches(self) -> int | float:
        """Number of batches in this epoch up to ``max_steps``; Lightning's own counts to the epoch's end."""
        trainer = self.trainer
        if trainer.max_steps < 0:
            return trainer.num_training_batches
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if done >= trainer.num_training_batches:  # of the epoch before: it is set back later
            done = 0
        return min(trainer.num_training_batches, done + left)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return the metrics shown beside the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        for name, (label, form) in _SHOWN.items():
            if name in metrics:
                metrics[label] = form.format(metrics.pop(name))
        for name in [name for name in metrics if name.startswith(_ACCURACY)]:
            metrics[name.replace(_ACCURACY, "accuracy")] = f"{metrics.pop(name):.1%}"
        return metrics

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        step, taken = trainer.global_step, not trainer.fit_loop._should_accumulate()
        if self.rollouts and taken and step % self.every_n_steps == 0 and trainer.is_global_zero:
            assert isinstance(pl_module, DOPDModule), "LiveConsole shows the rollouts of a DOPDModule"
            get_console().print(rollouts_text(outputs["record"], pl_module.tokenizer, self.rollouts, step))


def rollouts_text(record: TokenRecord, tokenizer: Any, count: int, step: int) -> Text:
    """The first ``count`` responses of a step behind their prompts, tokens coloured by regime, nothing invisible."""
    text = Text(f"\nstep {step}", style="bold")
    if record.regimes is not None:
        for regime, style in STYLES.items():
            text.append("  ").append(regime.name, style=style)
    for row in range(min(count, len(record.response_ids))):
        kept = record.mask[row]
        ids = record.response_ids[row][kept].tolist()
        regimes = [-1] * len(ids) if record.regimes is None else record.regimes[row][kept].tolist()
        pieces = token_pieces(tokenizer, ids)
        text.append(f"\n{readable(prompt_text(record.examples[row]['prompt']))}\n", style="italic not bold")
        for token, regime in zip(shown([pieces[each] for each in ids]), regimes, strict=True):
            text.append(token.text.replace("␣", " ").replace("↵", "\n"), style=STYLES.get(regime, "default"))
        text.append("\n")
    return text
