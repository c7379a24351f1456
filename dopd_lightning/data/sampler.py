"""The order of training examples, over any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import islice
from typing import Any

from torch.utils.data import DistributedSampler


class TrainingSampler(DistributedSampler[Any]):
    """Shuffled anew each epoch, and dealt out: N processes with batches of B read together what one reads with N·B.

    Its place is kept in checkpoints, counted in examples of all processes, so that as many others go on from there.

    Args:
        examples: anything with a length.
        batch_size: each process reads a whole number of batches an epoch; what is left over waits for the next.
        processes: how many deal the examples out among them.
        rank: which of them this is.
        seed: of the order.
    """

    def __init__(self, examples: Sized, batch_size: int, *, processes: int = 1, rank: int = 0, seed: int = 0) -> None:
        super().__init__(examples, num_replicas=processes, rank=rank, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.num_samples = len(examples) // (batch_size * processes) * batch_size
        self.total_size = self.num_samples * processes
        self._yielded = 0
        self._goes_on = True

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; within the one that was stopped, the place stays."""
        if epoch != self.epoch:
            self.epoch, self._yielded, self._goes_on = epoch, 0, True

    def __iter__(self) -> Iterator[Any]:
        # This runs when the first example is asked for: iterators that nobody reads from change nothing.
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
