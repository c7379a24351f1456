"""Views: the same response tokens behind different prompts.

The student and its sources read one response after prompts of different lengths. Prompts are padded on the left and
responses on the right, so that a response has the same columns, at the end, in every view, whichever side the
tokenizer pads on. Position ids count real tokens only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.scores.responses import Responses


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


def padded_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids and mask (1 at real tokens), both ``(batch, prompt)``; ``(0, 1)`` for no prompt."""
    width = max([len(prompt) for prompt in prompts] + [1])
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, dtype=torch.long).view(-1, width), torch.tensor(mask, dtype=torch.long).view(-1, width)


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
    position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
    return View(inputs, responses.ids.shape[1])


def response_states(policy: PreTrainedModel, view: View) -> Tensor:
    """Return the hidden states ``(batch, response, width)`` from which the head computes the response's logits.

    They are the head's input, after the model's last normalisation; the head itself gets zero rows. The call goes
    through the whole policy, including wrappers.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> view = view_of([[20, 21]], Responses.from_lists([[22, 23, 24]], pad_id=0), pad_id=0)
        >>> response_states(student, view).shape[:2]
        torch.Size([1, 3])
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
    return caught[0][: len(view), -view.response_width - 1 : -1]


def response_logits(policy: nn.Module, view: View, vocabulary_size: int) -> Tensor:
    """Return the logits ``(batch, response, vocab)`` that predict each response token, over the real vocabulary.

    The logit at column ``i`` predicts column ``i + 1``, so these come from the columns one to the left of the response.
    They are the model's own output, with head bias, softcap and scale, in float32 whatever the run's precision.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> view = view_of([[20, 21]], Responses.from_lists([[22, 23, 24]], pad_id=0), pad_id=0)
        >>> response_logits(student, view, vocabulary_size=100).shape
        torch.Size([1, 3, 100])
    """
    logits = _forward(policy, view)[: len(view)]
    return logits[:, -view.response_width - 1 : -1, :vocabulary_size].float()


def _forward(policy: nn.Module, view: View) -> Tensor:
    inputs = view.with_a_row().inputs
    logits: Tensor = policy(**inputs, use_cache=False, logits_to_keep=view.response_width + 1).logits
    return logits
