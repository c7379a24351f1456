"""Views: the same response tokens behind different prompts.

The student and its sources read one response under prompts of different lengths. Prompts are padded on the left and
responses on the right, so that a response takes the same columns, at the end, in every view, whatever side the
tokenizer pads on; position ids count real tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Responses:
    """Responses of equal width, padded on the right.

    Attributes:
        ids: ``(batch, response)``, the tokens; padding where ``mask`` is false.
        mask: ``(batch, response)`` bool, true up to and including the end-of-sequence token. A response that was cut at
            the length limit has none, and an empty one is masked altogether.
    """

    ids: Tensor
    mask: Tensor

    @classmethod
    def from_lists(cls, responses: Sequence[Sequence[int]], pad_id: int) -> Responses:
        """Pad lists of token ids to the longest, and at least to one column."""
        width = max([len(response) for response in responses] + [1])
        rows = [list(response) + [pad_id] * (width - len(response)) for response in responses]
        real = [[True] * len(response) + [False] * (width - len(response)) for response in responses]
        shape = len(rows), width
        return cls(torch.tensor(rows, dtype=torch.long).view(shape), torch.tensor(real, dtype=torch.bool).view(shape))

    def to(self, device: torch.device) -> Responses:
        return Responses(self.ids.to(device), self.mask.to(device))

    def of_rows(self, rows: Tensor) -> Responses:
        """Those of some rows ``(n,)`` of the batch."""
        return Responses(self.ids[rows], self.mask[rows])


@dataclass(frozen=True)
class View:
    """What one policy reads; all tensors are ``(batch, prompt + response)``, the response in the last columns."""

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    response_width: int

    def of_rows(self, rows: Tensor) -> View:
        """That of some rows ``(n,)`` of the batch."""
        ids, mask, positions = self.input_ids[rows], self.attention_mask[rows], self.position_ids[rows]
        return View(ids, mask, positions, self.response_width)


def padded_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask (1 at real tokens), ``(batch, prompt)``; of no prompt at all, ``(0, 1)``."""
    width = max([len(prompt) for prompt in prompts] + [1])
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, dtype=torch.long).view(-1, width), torch.tensor(mask, dtype=torch.long).view(-1, width)


def view_of(prompts: Sequence[Sequence[int]], responses: Responses, pad_id: int) -> View:
    """Put the responses behind their prompts.

    Args:
        prompts: token ids, one list for each response.
        responses: ``(batch, response)``.
        pad_id: fills up; it may be the end-of-sequence token, since masks are made from lengths and not from ids.
    """
    ids, mask = (each.to(responses.ids.device) for each in padded_left(prompts, pad_id))
    input_ids = torch.cat([ids, responses.ids.masked_fill(~responses.mask, pad_id)], dim=1)
    attention_mask = torch.cat([mask, responses.mask.to(mask.dtype)], dim=1)
    position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    return View(input_ids, attention_mask, position_ids, responses.ids.shape[1])


def response_states(policy: PreTrainedModel, view: View) -> Tensor:
    """Hidden states that the policy's head turns into the response's logits, as ``(batch, response, width)``.

    They are what the head is about to receive, the model's last normalisation included; the head itself gets no rows to
    work on. The call goes through the whole policy, whatever wraps it.
    """
    caught: list[Tensor] = []

    def take(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        caught.append(args[0])
        return (args[0][:, :0], *args[1:])

    head = policy.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(head, nn.Module)
    handle = head.register_forward_pre_hook(take)
    try:
        _forward(policy, view)
    finally:
        handle.remove()
    return caught[0][: len(view.input_ids), -view.response_width - 1 : -1]


def response_logits(policy: nn.Module, view: View, vocabulary_size: int) -> Tensor:
    """Logits that predict each response token, as ``(batch, response, vocab)`` over the real vocabulary.

    The logit at column ``i`` predicts column ``i + 1``, so these come from the columns one to the left of the response.
    They are the model's own output, head bias, softcap and scale included, in float32 whatever the run's precision.
    """
    logits = _forward(policy, view)[: len(view.input_ids)]
    return logits[:, -view.response_width - 1 : -1, :vocabulary_size].float()


def _forward(policy: nn.Module, view: View) -> Tensor:
    ids, mask, positions = view.input_ids, view.attention_mask, view.position_ids
    if len(ids) == 0:  # models cannot read nothing, but other processes may wait for this one to read along
        ids, mask, positions = (
            ids.new_zeros(1, ids.shape[1]),
            mask.new_ones(1, ids.shape[1]),
            positions.new_zeros(1, ids.shape[1]),
        )
    logits: Tensor = policy(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=view.response_width + 1,
    ).logits
    return logits
