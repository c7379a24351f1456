"""``LightningDataModule`` of a run's datasets."""

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
    """Map-style datasets and their dataloaders. Batches are dicts of columns (:func:`collate`).

    Training examples are shuffled (:class:`~dopd_lightning.data.sampler.TrainingSampler`), and all batches are full. A
    run that resumes in the middle of an epoch, with the same number of workers, continues with the next batch. The
    other datasets are read in order. Each of several processes reads its own share, and no example is read twice.

    Args:
        train: training examples: a dataset or a list.
        val: validation examples, for ``validate`` and during ``fit``. Without them, ``fit`` does not validate.
        test: test examples.
        predict: examples for ``predict``.
        batch_size: prompts in a training batch of one process.
        eval_batch_size: prompts in a batch of the other datasets; ``batch_size`` by default.
        num_workers: worker processes of each dataloader.
        seed: seed of the training order.

    Raises:
        ConfigError: if a dataset is not map-style, a size is out of range, or a stage has no dataset.
        DataError: if the training dataset does not fill one batch, or another dataset has fewer examples than there are
            processes.

    Example:
        >>> examples = [{"prompt": f"{n} + 1 = ?", "answer": n + 1} for n in range(5)]
        >>> module = DOPDDataModule(train=examples, val=examples, batch_size=2)
        >>> [batch["answer"] for batch in module.val_dataloader()]
        [[1, 2], [3, 4], [5]]
        >>> [batch["answer"] for batch in module.train_dataloader()]
        [[5, 1], [2, 4]]
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
        """Apply the limit on prompt length to every dataset, before a model is loaded; see :meth:`PromptFormat.select`.

        Args:
            prompt_format: format and limit of the prompts.
            tokenizer: tokenizer of the prompts.
            room: tokens that the policies' positions leave for a prompt.

        Raises:
            DataError: if prompts are too long and may not be dropped, or the others do not fill a training batch.
        """
        for name, examples in self.sets.items():
            if examples is not None:
                self.sets[name] = prompt_format.select(examples, tokenizer, where=name, room=room)
        self._check_train_size()

    def setup(self, stage: str) -> None:
        """Check that the stage has a dataset; the Trainer calls this.

        Raises:
            ConfigError: if the stage's dataset is missing.
        """
        self._needed(_SET_OF_STAGE[stage])

    def train_dataloader(self) -> StatefulDataLoader[Any]:
        """Return shuffled, full batches. Unlike torch's own, this dataloader keeps its position in checkpoints."""
        processes, rank = self._place()
        self._check_train_size(processes)
        examples = self._needed("train")
        with warnings.catch_warnings():  # torchdata 0.11 calls a deprecated torch function
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
        """Return validation batches in order; none if there are no validation examples."""
        return [] if self.sets["val"] is None else self._eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return test batches in order."""
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return batches for ``stage=predict`` in order."""
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
    """Ignore Ctrl-C in a dataloader's worker: the run needs its workers for its last step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _own_generator() -> torch.Generator:
    """Return a generator for the seeds of workers: draws from the global generator would change the next rollouts."""
    return torch.Generator().manual_seed(0)
