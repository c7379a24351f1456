"""Left padding of prompts, and position ids that count real tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def padded_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids and mask (1 at real tokens), both ``(batch, prompt)``; ``(0, 1)`` for no prompt."""
    width = max([len(prompt) for prompt in prompts] + [1])
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, dtype=torch.long).view(-1, width), torch.tensor(mask, dtype=torch.long).view(-1, width)


def position_ids(mask: Tensor) -> Tensor:
    """Return position ids ``(batch, tokens)`` that count real tokens; 0 at padding on the left.

    Args:
        mask: ``(batch, tokens)``, 1 at real tokens.

    Example:
        >>> position_ids(torch.tensor([[0, 1, 1]])).tolist()
        [[0, 0, 1]]
    """
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
