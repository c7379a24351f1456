"""Reading a model's output head, and making sure that it is read as the model does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.head import Head


def head_of(policy: PreTrainedModel, vocabulary_size: int) -> Head | None:
    """The policy's head over its first ``vocabulary_size`` tokens; None if it is more than a plain linear layer.

    An adapter or a quantized layer in its place, say: reading weights would leave the adapter out.
    """
    layer = policy.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(layer) is not nn.Linear or not layer.weight.is_floating_point():
        return None
    config = policy.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0  # Cohere multiplies
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite divides
    return Head(layer.weight, layer.bias, scale, getattr(config, "final_logit_softcapping", None), vocabulary_size)


@torch.no_grad()
def is_read_right(head: Head, policy: PreTrainedModel) -> bool:
    """Whether the head makes of hidden states what the policy itself makes of them, tried on two tokens."""
    caught: list[Tensor] = []
    layer = policy.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(layer, nn.Module)
    handle = layer.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        with torch.autocast(policy.device.type, enabled=False):
            logits = policy(input_ids=torch.tensor([[0, 1]], device=policy.device), use_cache=False).logits
    finally:
        handle.remove()
    if len(caught) != 1 or caught[0].shape[:2] != (1, 2):
        return False
    expected = logits[0, :, : head.vocabulary_size].float()
    found = head.logits(caught[0][0], torch.empty_like(expected))
    rounding = 2e-2 if head.weight.dtype.itemsize < 4 else 1e-3
    return bool((found - expected).abs().max() <= rounding * expected.abs().max())
