"""Reading a model's output head, and making sure that it is read as the model does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dopd_lightning.scores.head import Head


def head_of(policy: PreTrainedModel, vocabulary_size: int) -> Head | None:
    """The policy's head over its first ``vocabulary_size`` tokens; None if it is more than a plain linear layer.

    An adapter or a quantized layer in its place, say: reading weights would leave the adapter out.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> head_of(student, vocabulary_size=100).vocabulary_size
        100
    """
    layer = policy.get_output_embeddings()  # type: ignore[no-untyped-call]
    # Weights that something recomputes before each forward are no parameter.
    if type(layer) is not nn.Linear or not isinstance(layer.weight, nn.Parameter) or layer.weight.dtype.itemsize < 2:
        return None
    config = policy.config.get_text_config()
    multiplier = getattr(config, "logit_scale", None) or 1.0  # Cohere multiplies
    divisor = getattr(config, "logits_scaling", None) or 1.0  # Granite divides
    if isinstance(multiplier, str):  # MPT names a formula
        return None
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(layer.weight, layer.bias, multiplier / divisor, softcap, vocabulary_size)


@torch.no_grad()
def is_read_right(head: Head, policy: PreTrainedModel) -> bool:
    """Check on two probe tokens that the head reproduces the policy's logits.

    The second one's states are made so large that its logits reach 100: a softcap that a config has under another name
    would not show in the small logits of a new model, and would come to matter as it learns.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> is_read_right(head_of(student, vocabulary_size=100), student)
        True
    """
    tried: list[Tensor] = []

    def enlarge(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not args or args[0].shape[:2] != (1, 2):
            return args
        states = args[0].clone()
        product = states[0, 1].float() @ head.weight[: head.vocabulary_size].float().t()
        states[0, 1] *= 100 / (head.scale * product).abs().max().clamp(min=1e-6)
        tried.append(states[0])
        return (states, *args[1:])

    layer = policy.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(layer, nn.Module)
    handle = layer.register_forward_pre_hook(enlarge)
    ids = torch.tensor([[0, 1]], device=policy.device)
    try:
        with torch.autocast(policy.device.type, enabled=False):
            logits = policy(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    finally:
        handle.remove()
    if len(tried) != 1:
        return False
    expected = logits[0, :, : head.vocabulary_size].float()
    found = head.logits(tried[0], torch.empty_like(expected))
    rounding = 2e-2 if head.weight.dtype.itemsize < 4 else 1e-3
    return bool(((found - expected).abs().amax(-1) <= rounding * expected.abs().amax(-1)).all())
