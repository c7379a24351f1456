"""A run that goes wrong says so, in words, before anybody looks at curves."""

from __future__ import annotations

import os
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from dopd_lightning.callbacks.resumable_checkpoint import ResumableCheckpoint
from dopd_lightning.errors import check_range
from dopd_lightning.fusion import Regime
from dopd_lightning.record.names import CUT_SHARE, accuracy_name, entropy_name, in_training, share_name
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.watcher import Watcher


class CollapseGuard(Watcher):
    """Warns when the student loses its entropy, its responses run to the length limit, one regime takes nearly all
    tokens, or accuracy keeps falling; each once, until it has passed. On request it then stops the run.

    What is compared are means over the last steps, of the metrics that the module logs.

    Args:
        window: optimizer steps that a mean is over. The first so many are the start.
        entropy_share: warn below this share of the entropy at the start.
        cut_share: warn above this share of responses cut at the length limit, if it was not above it at the start.
        regime_share: warn above this share of tokens in one regime, if it was not above it at the start.
        validations: warn after so many validations in a row, each with less accuracy than the one before.
        accuracy_share: warn after two validations in a row with less than this share of the best accuracy.
        stop: end training, with a checkpoint, after the step.
        folder: where to, unless a :class:`ResumableCheckpoint` saves anyhow; the Trainer's ``default_root_dir`` if not
            given.

    Raises:
        ConfigError: for a number out of range.
    """

    collective = frozenset({"on_train_batch_end", "on_validation_end", "on_train_end"})

    def __init__(
        self,
        window: int = 20,
        entropy_share: float = 0.2,
        cut_share: float = 0.5,
        regime_share: float = 0.97,
        validations: int = 3,
        accuracy_share: float = 0.8,
        stop: bool = False,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.window = int(check_range("window", window, at_least=1))
        self.entropy_share = check_range("entropy_share", entropy_share, above=0, below=1)
        self.cut_share = check_range("cut_share", cut_share, above=0, below=1)
        self.regime_share = check_range("regime_share", regime_share, above=0, below=1)
        self.validations = int(check_range("validations", validations, at_least=1))
        self.accuracy_share = check_range("accuracy_share", accuracy_share, above=0, below=1)
        self.stop = stop
        self.folder = None if folder is None else Path(folder)
        self._recent: deque[dict[str, float]] = deque(maxlen=self.window)
        self._start: dict[str, float] | None = None
        self._steps = 0
        self._accuracies: list[float] = []
        self._warned: set[str] = set()
        self.stopped = False

    # ---------------------------------------------------------------------------------------------- what is looked at

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.off:
            with self.guarded():
                self._look_at_step(trainer, pl_module)
        self._stop_together(trainer)

    def _look_at_step(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, DOPDModule), "CollapseGuard watches a DOPDModule"
        accumulating, self._steps = trainer.global_step == self._steps, trainer.global_step
        if accumulating:
            return
        metrics = trainer.callback_metrics
        self._recent.append({name: float(metrics[name]) for name in metrics if name in _WATCHED})
        names = set.intersection(*map(set, self._recent))  # a step without a token has no means over tokens
        if len(self._recent) < self.window or _ENTROPY not in names:
            return
        now = {name: sum(each[name] for each in self._recent) / self.window for name in names}
        if self._start is None:
            self._start = now
            return
        self._judge(trainer, self._of_steps(now, self._start, module.rollout.sampling.max_new_tokens))

    def _of_steps(self, now: dict[str, float], start: dict[str, float], limit: int) -> dict[str, str | None]:
        """A warning, or None, for each sign that steps give."""
        over = f"over the last {self.window} steps"
        entropy, before = now[_ENTROPY], start[_ENTROPY]
        fell = entropy < self.entropy_share * before
        found: dict[str, str | None] = {
            "entropy": f"the student's entropy is {entropy:.3g} nats a token {over}, {entropy / before:.0%} of the "
            f"{before:.3g} at the start: it says the same whatever it is asked, and learns from little else"
            if fell
            else None
        }
        cut = now[_CUT]
        found["length"] = (
            f"{cut:.0%} of the responses {over} were cut at the limit of {limit} tokens, {start[_CUT]:.0%} at the "
            "start: the student forgets how to stop, or needs more rollout.max_new_tokens"
            if start[_CUT] <= self.cut_share < cut
            else None
        )
        for name, regime in _SHARES.items():
            if name in now and name in start:
                found[name] = (
                    f"{now[name]:.1%} of the response tokens {over} are in the regime {regime.name}, "
                    f"{start[name]:.1%} at the start: the routing no longer tells tokens apart"
                    if start[name] <= self.regime_share < now[name]
                    else None
                )
        return found

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.off:
            with self.guarded():
                self._look_at_validation(trainer)
        self._stop_together(trainer)

    def _look_at_validation(self, trainer: L.Trainer) -> None:
        found = [float(value) for name, value in trainer.callback_metrics.items() if name.startswith(_ACCURACY)]
        if not found or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._accuracies.append(sum(found) / len(found))
        self._judge(trainer, {"accuracy": self._of_validations(self._accuracies)})

    def _of_validations(self, accuracies: list[float]) -> str | None:
        last, best = accuracies[-self.validations - 1 :], max(accuracies)
        if len(last) > self.validations and all(b < a for a, b in pairwise(last)):
            figures = ", ".join(f"{each:.1%}" for each in last)
            return f"accuracy has fallen in {self.validations} validations, one after the other: {figures}"
        if all(each < self.accuracy_share * best for each in accuracies[-2:]):
            figures = " and ".join(f"{each:.1%}" for each in accuracies[-2:])
            return f"accuracy was {figures} in the last two validations, and {best:.1%} in the best"
        return None

    # ------------------------------------------------------------------------------------------------ what is done

    def _judge(self, trainer: L.Trainer, found: dict[str, str | None]) -> None:
        new = {sign: text for sign, text in found.items() if text is not None and sign not in self._warned}
        self._warned = {sign for sign in self._warned if found.get(sign, "as before") is not None} | set(new)
        for text in new.values():
            ending = "; training stops here (collapse_guard.stop)" if self.stop else ""
            rank_zero_warn(f"step {trainer.global_step}: {text}{ending}")
        if new and self.stop:
            trainer.should_stop = self.stopped = True

    def _stop_together(self, trainer: L.Trainer) -> None:
        """Stop all processes, also one in which this callback was switched off."""
        if self.stop:
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        saves = any(isinstance(callback, ResumableCheckpoint) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if self.stop and not saves and self.goes_on(pl_module.device) and self._warned:
            folder = self.folder if self.folder is not None else Path(trainer.default_root_dir)
            trainer.save_checkpoint(folder / f"collapsed_step={trainer.global_step}.ckpt", weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        return {
            "recent": list(self._recent),
            "start": self._start,
            "accuracies": self._accuracies,
            "warned": sorted(self._warned),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._recent = deque(state_dict["recent"], maxlen=self.window)
        self._start = state_dict["start"]
        self._accuracies = state_dict["accuracies"]
        self._warned = set(state_dict["warned"])


_ENTROPY, _CUT = in_training(entropy_name("student")), in_training(CUT_SHARE)
_SHARES = {in_training(share_name(regime)): regime for regime in Regime}
_WATCHED = {_ENTROPY, _CUT, *_SHARES}
_ACCURACY = accuracy_name("val")  # with several dataloaders, Lightning adds the number of each
