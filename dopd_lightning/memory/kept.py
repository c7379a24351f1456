"""Memory that autograd keeps from a forward pass to the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of all tensors; shared memory counts twice."""
    return sum(tensor.nbytes for tensor in tensors)


class Kept:
    """Bytes that autograd keeps: of each decoder layer, of what the layers are given, and outside of them."""

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
    """Memory that tensors lie in, each counted once; it is held, so that no other takes its address."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        self._found: dict[int, torch.UntypedStorage] = {}
        for tensor in tensors:
            self.add(tensor)

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._found

    def add(self, tensor: Tensor) -> int:
        """Bytes that were not there before."""
        if tensor in self:
            return 0
        storage = tensor.untyped_storage()
        self._found[storage._cdata] = storage
        return storage.nbytes()


@contextmanager
def watching(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[Kept]:
    """Record the tensors that autograd keeps of the model's forward pass."""
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
