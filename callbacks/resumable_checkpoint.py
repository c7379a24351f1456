"""Checkpoints from which a run goes on as if it had never stopped, and a clean stop when the machine is to go away."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from dopd_lightning.distributed.processes import failing_together
from dopd_lightning.errors import ConfigError, WriteError, check_range
from dopd_lightning.io.files import says_what_fails


class RunStopped(Exception):
    """A signal asked for the end, and a checkpoint was saved. Not an error, but the run is not over.

    Attributes:
        signal: which, if this process got it, else SIGTERM.
        steps: optimizer steps taken.
        path: the checkpoint.
        rank: of this process.
    """

    def __init__(self, number: signal.Signals, steps: int, path: Path, rank: int) -> None:
        super().__init__(f"stopped by {number.name} after {steps} steps; saved {path}")
        self.signal, self.steps, self.path, self.rank = number, steps, path, rank


class ResumableCheckpoint(Checkpoint):
    """Saves every so many optimizer steps, after each validation, at the end, and when the process is told to stop.

    It never saves between a step and the validation that is due after it, which Lightning would leave out on resuming
    (as it does from its own ModelCheckpoint's files), nor while gradients accumulate, which checkpoints do not hold.
    The last step is saved when the other callbacks are done with the run: one that goes on from there trains nothing.
    Files are named by step; ``last.ckpt`` is a link to the newest. Use it with
    :class:`~dopd_lightning.training.checkpoint_file.WholeCheckpointIO`.

    Args:
        folder: where to.
        every_n_steps: optimizer steps between two checkpoints.
        keep: how many of the newest stay.
        signals: on which to save and stop: after the step, and the validation, that is under way, with
            :class:`RunStopped`. A second SIGINT (Ctrl-C) ends the process at once.

    Raises:
        ConfigError: for a number below 1, or a signal that there is none of.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every_n_steps: int = 50,
        keep: int = 2,
        signals: Sequence[str] = ("SIGTERM", "SIGUSR1", "SIGINT"),
    ) -> None:
        self.folder = Path(folder)
        self.every_n_steps = int(check_range("every_n_steps", every_n_steps, at_least=1))
        self.keep = int(check_range("keep", keep, at_least=1))
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown:
            raise ConfigError(
                f"signals: {unknown[0]!r} is no signal here; there are {', '.join(signal.Signals.__members__)}"
            )
        self.signals = [signal.Signals[name] for name in signals]
        self._handlers: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None
        self._stopping = False
        self._steps = self._saved = 0

    # -------------------------------------------------------------------------------------------------- when to save

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._steps = self._saved = trainer.global_step
        self._received, self._stopping = None, False
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in self.signals}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accumulating, self._steps = trainer.global_step == self._steps, trainer.global_step
        if accumulating:
            return
        self._stopping = trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)
        loop = trainer.fit_loop.epoch_loop
        validation_follows = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        due = self._stopping or trainer.global_step % self.every_n_steps == 0
        if due and not validation_follows and not _is_at_its_end(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        accumulating = trainer.fit_loop._should_accumulate()
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fitting and not accumulating and not _is_at_its_end(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stopping = False  # there is nothing left to stop
        if trainer.global_step > self._saved:
            self._save(trainer)
        self._restore_handlers()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def _receive(self, number: int, frame: Any) -> None:
        self._received = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
                # Not print, which may be what was interrupted.
                os.write(2, b"\nCtrl-C: saving after this step; once more to end at once, without saving\n")

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    # ------------------------------------------------------------------------------------------------------ saving

    def _save(self, trainer: L.Trainer) -> None:
        path = self.folder / f"step={trainer.global_step}.ckpt"
        if trainer.global_step > self._saved:
            self._saved = trainer.global_step
            with failing_together((WriteError,), trainer.strategy.root_device):
                try:
                    trainer.save_checkpoint(path, weights_only=False)
                except WriteError:  # in the first process: the others wait until it is here
                    trainer.strategy.barrier("Trainer.save_checkpoint")
                    raise
                if trainer.is_global_zero:
                    with says_what_fails(self.folder / "last.ckpt", "the link to the checkpoint"):
                        self._link_and_prune(path)
        if self._stopping:
            raise RunStopped(self._received or signal.SIGTERM, trainer.global_step, path, trainer.global_rank)

    def _link_and_prune(self, newest: Path) -> None:
        link = self.folder / ".last.ckpt.part"
        link.unlink(missing_ok=True)
        link.symlink_to(newest.name)
        link.replace(self.folder / "last.ckpt")
        steps = {int(path.stem.removeprefix("step=")): path for path in self.folder.glob("step=*.ckpt")}
        # Later ones are of an attempt that went on from the same checkpoint: they are not this run's to remove.
        past = sorted(step for step in steps if step <= self._saved)
        for step in past[: -self.keep]:
            steps[step].unlink()


def _is_at_its_end(trainer: L.Trainer) -> bool:
    """Tell, after a step, whether no other follows, so that the training ends."""
    loop: Any = trainer.fit_loop
    epochs = loop.epoch_progress.current.processed + int(loop.epoch_loop.batch_progress.is_last_batch)
    limits = ((trainer.global_step, trainer.max_steps), (epochs, trainer.max_epochs))
    return trainer.should_stop or any(limit not in (None, -1) and done >= limit for done, limit in limits)
