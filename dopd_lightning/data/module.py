"""The datasets of a run as a ``LightningDataModule``."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from dopd_lightning.data.collate import collate
from dopd_lightning.data.example import Example
from dopd_lightning.data.prompt_format import PromptFormat
from dopd_lightning.data.sampler import TrainingSampler
from dopd_lightning.errors import ConfigError, DataError, check_range

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Examples = Dataset[Example] | Sequence[Example]

_SET_OF_STAGE = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


class DOPDDataModule(L.LightningDataModule):
    """Map-style datasets and how they are batched. Batches are dicts of columns (:func:`collate`).

    Training batches are shuffled (:class:`~dopd_lightning.data.sampler.TrainingSampler`), are all full, and go on where
    they were when a run is resumed in the middle of an epoch (with as many workers as before). The other sets are read
    in order. Of several processes, each reads its share, and none reads an example twice.

    Args:
        train: training examples; a list will do.
        val: examples for validation, in ``validate`` and during ``fit``. Without any, ``fit`` does not validate.
        test: examples for testing.
        predict: examples to answer.
        batch_size: prompts a training batch, in each process.
        eval_batch_size: prompts a batch elsewhere; ``batch_size`` by default.
        num_workers: worker processes of each dataloader.
        seed: of the training order.

    Raises:
        ConfigError: for a set that is not map-style or a size out of range; in a stage whose set is missing.
        DataError: for a training set that does not fill a single batch, or another with less than one example for each
            process.
    """

    def __init__(
        self,
        train: Examples | None = None,
        val: Examples | None = None,
        test: Examples | None = None,
        predict: Examples | None = None,
        *,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sets: dict[str, Any] = {"train": train, "val": val, "test": test, "predict": predict}
        self.batch_size = int(check_range("batch_size", batch_size, at_least=1))
        self.eval_batch_size = int(
            check_range("eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size, at_least=1)
        )
        self.num_workers = int(check_range("num_workers", num_workers, at_least=0))
        self.seed = seed
        for name, examples in self.sets.items():
            if examples is not None and not (hasattr(examples, "__getitem__") and hasattr(examples, "__len__")):
                raise ConfigError(
                    f"{name}: {type(examples).__name__} must be map-style (have __len__ and __getitem__);"
                    " give the Trainer your own dataloader to stream examples"
                )
        self._check_train_size()

    def check_prompts(
        self, prompt_format: PromptFormat, tokenizer: PreTrainedTokenizerBase, room: int = sys.maxsize
    ) -> None:
        """Hold every set to the limit on prompts, before any model is loaded: see :meth:`PromptFormat.select`.

        Raises:
            DataError: if prompts are too long and are not to be dropped, or too few are left to train on.
        """
        for name, examples in self.sets.items():
            if examples is not None:
                self.sets[name] = prompt_format.select(examples, tokenizer, where=name, room=room)
        self._check_train_size()

    def setup(self, stage: str) -> None:
        """Called by the Trainer.

        Raises:
            ConfigError: if the stage's dataset is missing.
        """
        self._needed(_SET_OF_STAGE[stage])

    def train_dataloader(self) -> StatefulDataLoader[Any]:
        """Shuffled, full batches only. It keeps its place in checkpoints, which torch's own dataloader does not."""
        processes, rank = self._place()
        self._check_train_size(processes)
        examples = self._needed("train")
        with warnings.catch_warnings():  # torchdata 0.11 calls a torch function that is on its way out
            warnings.filterwarnings("ignore", message="'set_vital' is deprecated")
            loader: StatefulDataLoader[Any] = StatefulDataLoader(
                examples,
                batch_size=self.batch_size,
                sampler=TrainingSampler(examples, self.batch_size, processes=processes, rank=rank, seed=self.seed),
                drop_last=True,
                collate_fn=collate,
                num_workers=self.num_workers,
                worker_init_fn=_leave_signals_to_the_run,
                generator=_own_generator(),
            )
        return loader

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Validation examples in order; none if ``fit`` runs without them."""
        return [] if self.sets["val"] is None else self._eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Test examples in order."""
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Examples to answer in ``stage=predict``, in order."""
        return self._eval_dataloader("predict")

    def _eval_dataloader(self, name: str) -> DataLoader[Any]:
        examples = self._needed(name)
        processes, rank = self._place()
        if len(examples) < processes:
            raise DataError(
                f"data.{name}: {len(examples)} examples cannot be shared by {processes} processes; add some"
            )
        return DataLoader(
            examples,
            batch_size=self.eval_batch_size,
            sampler=UnrepeatedDistributedSampler(examples, processes, rank, shuffle=False) if processes > 1 else None,
            collate_fn=collate,
            num_workers=self.num_workers,
            worker_init_fn=_leave_signals_to_the_run,
            generator=_own_generator(),
        )

    def _place(self) -> tuple[int, int]:
        """Return the number of processes that read the data, and the rank of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _needed(self, name: str) -> Any:
        examples = self.sets[name]
        if examples is None:
            have = ", ".join(key for key, value in self.sets.items() if value is not None) or "none"
            raise ConfigError(f"data.{name}: this stage needs examples, and there are none (sets given: {have})")
        return examples

    def _check_train_size(self, processes: int = 1) -> None:
        train = self.sets["train"]
        if train is not None and len(train) < self.batch_size * processes:
            share = f" on each of {processes} processes" if processes > 1 else ""
            found = f"train: {len(train)} examples do not fill one batch of {self.batch_size}{share}"
            raise DataError(f"{found}; lower batch_size or add data")


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C reaches the workers of a loader, too, and the run still needs them for the step that it ends with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _own_generator() -> torch.Generator:
    """Return a generator for the loader's worker seeds; drawing from the global one would change the next rollouts."""
    return torch.Generator().manual_seed(0)
