"""Responses of a batch, padded to one width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses of equal width, padded on the right.

    Attributes:
        ids: ``(batch, response)``, the tokens; padding where ``mask`` is false.
        mask: ``(batch, response)`` bool, true up to and including the end-of-sequence token. A response that was cut at
            the length limit has none, and an empty one is masked altogether.
        own: ``(batch, response)`` bool, the response mask of loss, routing and metrics: true at the tokens that the
            student wrote, or could have written. Other tokens, such as a tool's output, are read by policies and have
            no loss.

    Example:
        >>> Responses.from_lists([[5, 6], [7]], pad_id=0).mask.tolist()
        [[True, True], [True, False]]
    """

    ids: Tensor
    mask: Tensor
    own: Tensor

    @classmethod
    def from_lists(
        cls, responses: Sequence[Sequence[int]], pad_id: int, own: Sequence[Sequence[bool] | None] | None = None
    ) -> Responses:
        """Pad lists of token ids to the longest, and at least to one column.

        Args:
            responses: token ids.
            pad_id: padding token.
            own: for each response, the mask of the student's own tokens; all of them if None.
        """
        width = max([len(response) for response in responses] + [1])
        shape = len(responses), width

        def padded(rows: Sequence[Sequence[int]], fill: int, dtype: torch.dtype) -> Tensor:
            return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=dtype).view(shape)

        mask = padded([[True] * len(response) for response in responses], False, torch.bool)
        if own is None:
            return cls(padded(responses, pad_id, torch.long), mask, mask)
        kept = [[True] * len(ids) if row is None else row for ids, row in zip(responses, own, strict=True)]
        return cls(padded(responses, pad_id, torch.long), mask, padded(kept, False, torch.bool))

    def to(self, device: torch.device) -> Responses:
        """Move to a device."""
        return Responses(self.ids.to(device), self.mask.to(device), self.own.to(device))

    def of_rows(self, rows: Tensor) -> Responses:
        """Select some rows ``(n,)`` of the batch."""
        return Responses(self.ids[rows], self.mask[rows], self.own[rows])


def scattered(values: Tensor, mask: Tensor) -> Tensor:
    """Scatter one value a response token to its place; 0 elsewhere.

    Args:
        values: ``(tokens, …)``, in the mask's order.
        mask: ``(batch, response)`` bool, true at response tokens.

    Returns:
        ``(batch, response, …)``.

    Example:
        >>> scattered(torch.tensor([1.0, 2.0]), torch.tensor([[True, False], [True, False]])).tolist()
        [[1.0, 0.0], [2.0, 0.0]]
    """
    full = torch.zeros(*mask.shape, *values.shape[1:], dtype=values.dtype, device=values.device)
    full[mask] = values
    return full
