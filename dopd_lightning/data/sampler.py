"""Order of training examples, for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import islice
from typing import Any

from torch.utils.data import DistributedSampler


class TrainingSampler(DistributedSampler[Any]):
    """Sampler that shuffles anew in each epoch and divides the examples among processes.

    N processes with batches of B examples read in each step what one process with batches of N·B reads. Checkpoints
    store the position as a number of examples over all processes, so that another number of processes can resume.

    Args:
        examples: any object with a length.
        batch_size: examples in a batch of one process. In an epoch, each process reads a whole number of batches; the
            remaining examples are skipped until the next epoch.
        processes: world size.
        rank: rank of this process.
        seed: seed of the order.
    """

    def __init__(self, examples: Sized, batch_size: int, *, processes: int = 1, rank: int = 0, seed: int = 0) -> None:
        super().__init__(examples, num_replicas=processes, rank=rank, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.num_samples = len(examples) // (batch_size * processes) * batch_size
        self.total_size = self.num_samples * processes
        self._yielded = 0
        self._goes_on = True

    def set_epoch(self, epoch: int) -> None:
        """Start a new epoch; keep the position if a resumed run is in this epoch. Lightning calls this before each."""
        if epoch != self.epoch:
            self.epoch, self._yielded, self._goes_on = epoch, 0, True

    def __iter__(self) -> Iterator[Any]:
        # A generator runs from its first next() on: creating an iterator without reading it changes nothing.
        if not self._goes_on or self._yielded == self.num_samples:
            self.epoch, self._yielded = self.epoch + 1, 0
        self._goes_on = False
        for index in islice(super().__iter__(), self._yielded, None):
            self._yielded += 1
            yield index

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "yielded": self._yielded * self.num_replicas}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self._yielded = state["epoch"], state["yielded"] // self.num_replicas
        self._goes_on = True
