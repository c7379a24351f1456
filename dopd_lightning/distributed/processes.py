"""Collectives over all ranks; each is the identity in a single process.

Every process has to call each of them, at the same place: one that has nothing to add too, or the others wait.
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
    """Return the rank of this one."""
    return torch.distributed.get_rank() if _several() else 0


def summed(values: Tensor) -> Tensor:
    """The sum over processes, of tensors of one shape; in place."""
    if _several():
        torch.distributed.all_reduce(values)
    return values


def average_(tensors: Iterable[Tensor]) -> None:
    """Put in place of each floating-point tensor, of one shape in all processes, its mean over them."""
    for tensor in tensors:
        if tensor.is_floating_point() and _several():
            summed(tensor).div_(number_of_processes())


def gathered_objects(value: T) -> list[T]:
    """Each process's, in the order of their ranks."""
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
    """Suspend collectives: inside, this process acts as if it were the only one. Others need not enter."""
    before = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(before)


@contextmanager
def failing_together(kinds: tuple[type[Exception], ...], device: torch.device) -> Iterator[None]:
    """Raise an error of one process in all of them, at the end of the block, instead of leaving the others waiting.

    Args:
        kinds: errors that leave no collective of the block half done; others are raised where they are.
        device: where collectives take their tensors from.
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
