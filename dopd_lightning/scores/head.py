"""A language model's output head, applied to some tokens at a time, into memory that is already there.

A model's logits are ``c · tanh(s · (W h + b) / c)`` of its hidden states ``h``: weights, and where the architecture has
them a bias, a scale ``s`` (Cohere, Granite) and a softcap ``c`` (Gemma). For thousands of tokens and a vocabulary of
150,000 they are the largest tensor of a training step; who has the head can do without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

COPIED_ROWS = 16384
"""Rows of the weights that are cast at once, where products need another dtype."""


@dataclass(frozen=True, eq=False)
class Head:
    """Output head: maps hidden states to logits.

    Products are accumulated in float32 or better and stay in it, whatever the dtype of weights and states: rounding
    logits to bfloat16 would cost them all but three digits.

    Attributes:
        weight: ``(padded vocab, width)``.
        bias: ``(padded vocab,)``, or None.
        scale: the logits are multiplied by it.
        softcap: the logits' bound, or None.
        vocabulary_size: how many rows are real tokens; the rows after them are padding, never read.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    vocabulary_size: int = -1

    def __post_init__(self) -> None:
        if self.vocabulary_size < 0:
            object.__setattr__(self, "vocabulary_size", self.weight.shape[0])

    def logits(self, states: Tensor, out: Tensor) -> Tensor:
        """Logits of ``states`` ``(tokens, width)``, written into ``out`` ``(tokens, vocab)``, which is returned."""
        # On a CPU, a thread's share of 512 rows at a time is up to half as fast again, for some tens of tokens, as all.
        for rows in self.tiles(512 * torch.get_num_threads() if states.device.type == "cpu" else COPIED_ROWS):
            _multiply(states, self.weight[rows].to(states.dtype).t(), out[:, rows])
        if self.bias is not None:
            out += self.bias[: self.vocabulary_size]
        if self.scale != 1:
            out *= self.scale
        if self.softcap is not None:
            out.div_(self.softcap).tanh_().mul_(self.softcap)
        return out

    def logits_at(self, states: Tensor, ids: Tensor) -> Tensor:
        """Logits of the tokens ``ids`` ``(tokens, K)`` alone, ``(tokens, K)``, in float32 or better."""
        dtype = torch.promote_types(states.dtype, torch.float32)
        rows = self.weight[ids].to(states.dtype).to(dtype)
        out = torch.bmm(rows, states.to(dtype).unsqueeze(-1)).squeeze(-1)
        if self.bias is not None:
            out += self.bias[ids]
        out *= self.scale
        return out if self.softcap is None else out.div_(self.softcap).tanh_().mul_(self.softcap)

    def tiles(self, size: int) -> Iterator[slice]:
        """Parts of the vocabulary, ``size`` rows each."""
        for start in range(0, self.vocabulary_size, size):
            yield slice(start, min(start + size, self.vocabulary_size))

    def to_product_(self, gradient: Tensor, logits: Tensor) -> None:
        """Turn a gradient by ``logits`` into one by ``W h + b``, in place; with a cap, ``logits`` are used up."""
        if self.softcap is not None:
            gradient *= logits.div_(self.softcap).square_().neg_().add_(1)
        if self.scale != 1:
            gradient *= self.scale


@dataclass(frozen=True, eq=False)
class HeadGradient:
    """Accumulators of gradients, float32 or better; None where no gradient is needed.

    Attributes:
        states: ``(tokens, width)``.
        weight: ``(padded vocab, width)``.
        bias: ``(padded vocab,)``.
    """

    head: Head
    states: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    def add(self, tokens: Tensor, states: Tensor, gradient: Tensor) -> None:
        """Add what a gradient ``(n, vocab)`` by ``W h + b`` means, at ``tokens`` ``(n,)`` of states ``(n, width)``."""
        of_states = None if self.states is None else torch.zeros_like(states, dtype=self.states.dtype)
        for rows in self.head.tiles(COPIED_ROWS):
            if of_states is not None:
                _multiply(gradient[:, rows], self.head.weight[rows].to(states.dtype), of_states, add=True)
            if self.weight is not None:
                _multiply(gradient[:, rows].t(), states, self.weight[rows], add=True)
        if self.states is not None and of_states is not None:
            self.states.index_add_(0, tokens, of_states)
        if self.bias is not None:
            self.bias[: self.head.vocabulary_size] += gradient.sum(0)

    def add_at(self, tokens: Tensor, states: Tensor, gradient: Tensor, ids: Tensor) -> None:
        """The same for a gradient ``(n, K)`` that is 0 but for the vocabulary's rows ``ids`` ``(n, K)``."""
        if self.states is not None:
            rows = self.head.weight[ids].to(states.dtype).to(gradient.dtype)
            self.states.index_add_(0, tokens, torch.bmm(gradient.unsqueeze(1), rows).squeeze(1))
        if self.weight is not None:
            outer = gradient.unsqueeze(-1) * states.to(gradient.dtype).unsqueeze(1)
            self.weight.index_add_(0, ids.flatten(), outer.flatten(0, 1))
        if self.bias is not None:
            self.bias.index_add_(0, ids.flatten(), gradient.flatten())


def _multiply(a: Tensor, b: Tensor, out: Tensor, *, add: bool = False) -> None:
    """``out = a @ b``, or ``out += a @ b``, in ``out``'s dtype.

    On a CUDA device, factors of 16 bits go to its tensor cores, which add up in float32; elsewhere they are widened.
    """
    low = next((x.dtype for x in (a, b) if x.dtype in (torch.bfloat16, torch.float16)), None)
    if out.is_cuda and low is not None:
        a, b = a.to(low), b.to(low)
        if add:
            torch.addmm(out, a, b, out_dtype=out.dtype, out=out)
        else:
            torch.mm(a, b, out_dtype=out.dtype, out=out)
    elif add:
        out.addmm_(a.to(out.dtype), b.to(out.dtype))
    else:
        torch.mm(a.to(out.dtype), b.to(out.dtype), out=out)
