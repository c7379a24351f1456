"""Forward passes over views: hidden states or logits of response tokens."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.inputs import View


def response_states(policy: PreTrainedModel, view: View) -> Tensor:
    """Return the hidden states ``(batch, response, width)`` from which the head computes the response's logits.

    They are the head's input, after the model's last normalisation; the head computes no logits. The call goes
    through the whole policy, including wrappers.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> from dopd_lightning.inputs import Responses, view_of
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
        >>> from dopd_lightning.inputs import Responses, view_of
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
