"""Memory that autograd keeps from the forward pass to the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the total bytes of tensors; memory that two tensors share counts twice."""
    return sum(tensor.nbytes for tensor in tensors)


class Kept:
    """Bytes that autograd keeps: in each decoder layer, as inputs of the layers, and outside the layers.

    Args:
        weights: weights of the model, which do not count.

    Attributes:
        of_layers: bytes kept in each decoder layer.
        inputs: bytes of the inputs of all layers.
        outside: bytes kept outside the layers.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.of_layers: list[int] = []
        self.inputs = self.outside = 0
        self._weights = Storages(weights)
        self._kept, self._inputs = Storages(), Storages()
        self._inside = False

    def keep(self, tensor: Tensor) -> Tensor:
        if tensor not in self._weights:
            new = self._kept.add(tensor)
            if self._inside:
                self.of_layers[-1] += new
            else:
                self.outside += new
        return tensor

    def enter(self, _: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._inside = True
        self.of_layers.append(0)
        given = (each for each in tree_leaves((args, options)) if isinstance(each, Tensor))
        self.inputs += sum(self._inputs.add(tensor) for tensor in given)

    def leave(self, *_: Any) -> None:
        self._inside = False


class Storages:
    """Storages of tensors, each counted once. They are held, so that no new storage gets the address of an old one."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        self._found: dict[int, torch.UntypedStorage] = {}
        for tensor in tensors:
            self.add(tensor)

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._found

    def add(self, tensor: Tensor) -> int:
        """Add the storage of a tensor, and return its bytes; 0 if it was there before."""
        if tensor in self:
            return 0
        storage = tensor.untyped_storage()
        self._found[storage._cdata] = storage
        return storage.nbytes()


@contextmanager
def watching(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[Kept]:
    """Record the bytes that autograd keeps of the model's forward pass inside the block."""
    kept = Kept(model.parameters())
    with ExitStack() as stack:
        for layer in layers:
            for handle in (
                layer.register_forward_pre_hook(kept.enter, with_kwargs=True),
                layer.register_forward_hook(kept.leave),
            ):
                stack.callback(handle.remove)
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor))
        yield kept
