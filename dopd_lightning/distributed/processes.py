"""Collectives over all ranks; each is the identity in a single process.

All ranks have to call the same collectives in the same order, even a rank that has nothing to contribute: otherwise the
others wait forever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_alone = ContextVar("alone", default=False)


def number_of_processes() -> int:
    """Return the world size."""
    return torch.distributed.get_world_size() if _several() else 1


def process_number() -> int:
    """Return the rank of this process."""
    return torch.distributed.get_rank() if _several() else 0


def summed(values: Tensor) -> Tensor:
    """Sum a tensor over all ranks, in place. Its shape is the same on all ranks."""
    if _several():
        torch.distributed.all_reduce(values)
    return values


def average_(tensors: Iterable[Tensor]) -> None:
    """Average each floating-point tensor over all ranks, in place. Shapes are the same on all ranks."""
    for tensor in tensors:
        if tensor.is_floating_point() and _several():
            summed(tensor).div_(number_of_processes())


def gathered_objects(value: T) -> list[T]:
    """Return the values of all ranks, in the order of the ranks."""
    if not _several():
        return [value]
    values: list[T] = [value] * number_of_processes()
    torch.distributed.all_gather_object(values, value)
    return values


def first_process(value: T) -> T:
    """Return the value of rank 0, on every rank."""
    values = [value]
    if _several():
        torch.distributed.broadcast_object_list(values)
    return values[0]


@contextmanager
def alone() -> Iterator[None]:
    """Make collectives the identity in this process inside the block. Other processes need not enter it."""
    before = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(before)


@contextmanager
def failing_together(kinds: tuple[type[Exception], ...], device: torch.device) -> Iterator[None]:
    """Raise an error of one rank on all ranks at the end of the block, so that the others do not wait forever.

    Args:
        kinds: errors that are raised before or after, never between, the collectives of the block. Other errors are
            raised at once, on their rank alone.
        device: device of the tensors that collectives exchange.
    """
    error: Exception | None = None
    try:
        yield
    except kinds as found:
        error = found
    if _several() and summed(torch.tensor(int(error is not None), device=device)):
        others = [each for each in gathered_objects(error) if each is not None]
        raise others[0] if error is None else error
    if error is not None:
        raise error


def _several() -> bool:
    return not _alone.get() and torch.distributed.is_available() and torch.distributed.is_initialized()
