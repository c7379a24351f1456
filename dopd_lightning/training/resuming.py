"""What a checkpoint holds, and how a run goes on from one: the part of ``DOPDModule`` that resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from transformers import PreTrainedModel

from dopd_lightning.distributed.processes import gathered_objects
from dopd_lightning.distributed.random_state import random_state, set_random_state
from dopd_lightning.moved import current_names
from dopd_lightning.record.metrics import RegimeCounts
from dopd_lightning.sources import Source
from dopd_lightning.training.checkpoints import go_on_in_data, mend_progress
from dopd_lightning.training.consistency import check_same_parameters


class Resuming(L.LightningModule):
    """Saves what learns and what is random; what it reads of the module is declared here."""

    student: PreTrainedModel
    sources: nn.ModuleDict
    _draws: torch.Generator | None

    def __init__(self) -> None:
        super().__init__()
        self.regime_counts = RegimeCounts()
        self._random_states: list[dict[str, Any]] | None = None
        self._engine_is_behind = True
        self.register_state_dict_post_hook(_leave_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_do_not_miss)  # type: ignore[no-untyped-call]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a run that goes on needs besides: each process's random state, and what was counted so far."""
        checkpoint["regime_counts"] = self.regime_counts.counts.tolist()
        own = random_state(self.device) | ({} if self._draws is None else {"sources": self._draws.get_state()})
        checkpoint["random_states"] = gathered_objects(own)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this student, and mend what Lightning would go on from wrongly.

        Raises:
            ConfigError: naming a parameter that is missing, foreign or of another shape.
        """
        if "state_dict" in checkpoint:  # FSDP2 has loaded it already, and taken it out
            checkpoint["state_dict"] = current_names(checkpoint["state_dict"])
            check_same_parameters(self.state_dict(), checkpoint["state_dict"])
        mend_progress(checkpoint)
        self._engine_is_behind = True
        self._random_states = checkpoint.get("random_states")
        if "regime_counts" in checkpoint:
            self.regime_counts.counts.copy_(torch.tensor(checkpoint["regime_counts"]))

    def on_train_start(self) -> None:
        """Read the training data from where the checkpoint left them."""
        go_on_in_data(self.trainer)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        states, self._random_states = self._random_states, None
        if states is None or self.trainer.ckpt_path is None:
            return
        if len(states) == self.trainer.world_size:
            own = states[self.global_rank]
            set_random_state(own, self.device)
            if "sources" in own:
                self._draws = torch.Generator()
                self._draws.set_state(own["sources"])
        else:  # nobody's to go on from; what the step began with must not be drawn again
            torch.manual_seed(torch.initial_seed() + self.trainer.world_size * self.global_step)
            rank_zero_warn(
                f"the checkpoint has the random states of {len(states)} processes, and this run has "
                f"{self.trainer.world_size}: what it samples is drawn anew"
            )


def _is_left_out(module: nn.Module) -> Callable[[str], bool]:
    """Whether a name in the state dict is never saved: frozen sources, and what is frozen of the student (a base)."""
    assert isinstance(module, Resuming)
    weights = module.student.named_parameters(prefix="student", remove_duplicate=False)
    frozen = {name for name, weight in weights if not weight.requires_grad}

    def is_left_out(name: str) -> bool:
        if not name.startswith("sources."):
            return name in frozen
        _, source, rest = name.split(".", 2)
        return not cast(Source, module.sources[source]).saves(rest)

    return is_left_out


def _leave_out(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any]) -> None:
    left_out = _is_left_out(module)
    for key in [key for key in state_dict if key.startswith(prefix) and left_out(key.removeprefix(prefix))]:
        del state_dict[key]


def _do_not_miss(module: nn.Module, incompatible_keys: Any) -> None:
    assert isinstance(module, Resuming)
    module._engine_is_behind = True
    left_out = _is_left_out(module)
    missing = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if not left_out(key)]
