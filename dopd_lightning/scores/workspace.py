"""Memory for logits: buffers for as many tokens at once as fit in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

LOSS_MEMORY = 64
"""MiB for rows as wide as the vocabulary. With fewer than some tens of tokens at once, products become slower."""


class Workspace:
    """Buffers of ``(tokens, vocab)`` within a budget, used again and again: fresh memory costs more than sums in it.

    Attributes:
        numbers: how many fit in.

    Args:
        memory: MiB; one token is always held, whatever it takes.
        vocabulary_size: width of a row.
        like: its dtype (float32 or better is taken) and device are the buffers'.
    """

    def __init__(self, memory: float, vocabulary_size: int, like: Tensor) -> None:
        self.vocabulary_size = vocabulary_size
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        self.device = like.device
        self.numbers = int(memory * 2**20) // self.dtype.itemsize
        self._memory: Tensor | None = None

    def chunks(self, tokens: Tensor, buffers: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Split ``tokens`` ``(n,)`` into chunks, each with so many buffers ``(chunk, vocab)`` of anything."""
        size = min(max(1, self.numbers // (buffers * self.vocabulary_size)), max(1, len(tokens)))
        needed = size * buffers * self.vocabulary_size
        if self._memory is None or self._memory.numel() < needed:
            self._memory = None  # given back before the larger one is asked for
            self._memory = torch.empty(needed, dtype=self.dtype, device=self.device)
        for chunk in torch.split(tokens, size):
            flat = self._memory[: buffers * len(chunk) * self.vocabulary_size]
            yield chunk, list(flat.view(buffers, len(chunk), self.vocabulary_size).unbind())
