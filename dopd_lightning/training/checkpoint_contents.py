"""Contents of checkpoints, and resuming from one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
from dopd_lightning.training.consistency import check_same_parameters
from dopd_lightning.training.progress import go_on_in_data, mend_progress
from dopd_lightning.training.prompting import Prompting


class Resuming:
    """Save and restore random states and regime counts, in addition to Lightning's own state.

    Args:
        counts: regime counts of the whole run.
        prompting: has the random generator of further sources.
    """

    def __init__(self, counts: RegimeCounts, prompting: Prompting) -> None:
        self.counts, self.prompting = counts, prompting
        self._random_states: list[dict[str, Any]] | None = None

    def save(self, checkpoint: dict[str, Any], device: torch.device) -> None:
        """Add each process's random state and the regime counts."""
        checkpoint["regime_counts"] = self.counts.counts.tolist()
        sources = self.prompting.random_state
        own = random_state(device) | ({} if sources is None else {"sources": sources})
        checkpoint["random_states"] = gathered_objects(own)

    def load(self, checkpoint: dict[str, Any], module: nn.Module) -> None:
        """Check that the checkpoint belongs to this module, and correct progress that Lightning would resume wrongly.

        Raises:
            ConfigError: naming a parameter that is missing, foreign or of another shape.
        """
        if "state_dict" in checkpoint:  # FSDP2 has loaded and removed it already
            checkpoint["state_dict"] = current_names(checkpoint["state_dict"])
            check_same_parameters(module.state_dict(), checkpoint["state_dict"])
        mend_progress(checkpoint)
        self._random_states = checkpoint.get("random_states")
        if "regime_counts" in checkpoint:
            self.counts.counts.copy_(torch.tensor(checkpoint["regime_counts"]))

    def begin(self, trainer: L.Trainer) -> None:
        """Resume the training data at the checkpoint's position."""
        go_on_in_data(trainer)

    def begin_batch(self, trainer: L.Trainer, device: torch.device) -> None:
        """Restore random states before the first batch."""
        states, self._random_states = self._random_states, None
        if states is None or trainer.ckpt_path is None:
            return
        if len(states) == trainer.world_size:
            own = states[trainer.global_rank]
            set_random_state(own, device)
            self.prompting.random_state = own.get("sources")
        else:  # another number of processes: new states, which must not repeat the first step's draws
            torch.manual_seed(torch.initial_seed() + trainer.world_size * trainer.global_step)
            rank_zero_warn(
                f"the checkpoint has the random states of {len(states)} processes, but this run has "
                f"{trainer.world_size}: sampling starts from new random states"
            )


def leave_out_of_state_dict(
    module: nn.Module, student: PreTrainedModel, sources: Mapping[str, Source], loaded: Callable[[], None]
) -> None:
    """Exclude weights that never change from a module's state dict, and from the keys that loading requires.

    These are frozen sources, and frozen weights of the student (the base of adapters).

    Args:
        module: module with the attributes ``student`` and ``sources``.
        student: the module's student.
        sources: the module's sources, by name.
        loaded: function to call after each loading.
    """
    module.register_state_dict_post_hook(_LeaveOut(student, sources))  # type: ignore[no-untyped-call]
    module.register_load_state_dict_post_hook(_DoNotMiss(student, sources, loaded))  # type: ignore[no-untyped-call]


class _Unchanging:
    """Entries of a state dict that never change. (A class, since it has to be picklable.)"""

    def __init__(self, student: PreTrainedModel, sources: Mapping[str, Source]) -> None:
        self.student, self.sources = student, sources

    def of(self, names: Iterable[str]) -> list[str]:
        weights = self.student.named_parameters(prefix="student", remove_duplicate=False)
        frozen = {name for name, weight in weights if not weight.requires_grad}
        return [name for name in names if (self._of_a_source(name) if name.startswith("sources.") else name in frozen)]

    def _of_a_source(self, name: str) -> bool:
        _, source, rest = name.split(".", 2)
        return not self.sources[source].saves(rest)


class _LeaveOut(_Unchanging):
    def __call__(
        self, module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any]
    ) -> None:
        own = [key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)]
        for name in self.of(own):
            del state_dict[prefix + name]


class _DoNotMiss(_Unchanging):
    def __init__(self, student: PreTrainedModel, sources: Mapping[str, Source], loaded: Callable[[], None]) -> None:
        super().__init__(student, sources)
        self.loaded = loaded

    def __call__(self, module: nn.Module, incompatible_keys: Any) -> None:
        self.loaded()
        unchanging = {*self.of(incompatible_keys.missing_keys)}
        incompatible_keys.missing_keys[:] = [key for key in incompatible_keys.missing_keys if key not in unchanging]
