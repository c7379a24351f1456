"""Views: the same response tokens behind different prompts.

The student and its sources read one response after prompts of different lengths. Prompts are padded on the left and
responses on the right, so that a response has the same columns, at the end, in every view, whichever side the
tokenizer pads on. Position ids count real tokens only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dopd_lightning.inputs.padding import padded_left, position_ids
from dopd_lightning.inputs.response_mask import Responses


@dataclass(frozen=True, eq=False)
class View:
    """Input of one policy: the responses, each after the policy's own prompt.

    Attributes:
        inputs: arguments of the model, each ``(batch, prompt + response, …)`` with the response in the last columns;
            ``input_ids`` and ``attention_mask`` among them, and ``position_ids`` unless the model makes them.
        response_width: number of columns of the response.
    """

    inputs: Mapping[str, Tensor]
    response_width: int

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    def of_rows(self, rows: Tensor) -> View:
        """Select some rows ``(n,)`` of the batch."""
        return View({name: each[rows] for name, each in self.inputs.items()}, self.response_width)

    def with_a_row(self) -> View:
        """Return the view, or a row of padding if it is empty.

        A model cannot read zero rows, and other processes may wait for this one's collectives.
        """
        if len(self):
            return self
        rows = {name: each.new_zeros(1, *each.shape[1:]) for name, each in self.inputs.items()}
        return View(rows | {"attention_mask": rows["attention_mask"] + 1}, self.response_width)


def view_of(prompts: Sequence[Sequence[int]], responses: Responses, pad_id: int) -> View:
    """Concatenate prompts of text and responses.

    Args:
        prompts: token ids, one list for each response.
        responses: ``(batch, response)``.
        pad_id: padding token; it may be the end-of-sequence token, since masks come from lengths and not from ids.

    Example:
        >>> responses = Responses.from_lists([[7, 8], [9]], pad_id=0)
        >>> view_of([[5], [3, 4]], responses, pad_id=0).inputs["input_ids"].tolist()
        [[0, 5, 7, 8], [3, 4, 9, 0]]
    """
    ids, mask = (each.to(responses.ids.device) for each in padded_left(prompts, pad_id))
    input_ids = torch.cat([ids, responses.ids.masked_fill(~responses.mask, pad_id)], dim=1)
    attention_mask = torch.cat([mask, responses.mask.to(mask.dtype)], dim=1)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids(attention_mask)}
    return View(inputs, responses.ids.shape[1])
