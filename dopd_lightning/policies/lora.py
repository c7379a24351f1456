"""A student that learns low-rank adapters (LoRA, 2106.09685) on a frozen base, through peft.

Adapters are injected into the transformers model, which stays the class that it was: generation, heads and configs are
those of any policy. Its base is there as a policy of its own without a second copy of the weights.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError, check_range, missing_extra
from dopd_lightning.policies.freezing import frozen_copy
from dopd_lightning.policies.loading import load_policy


def load_lora_policy(
    name: str | os.PathLike[str],
    *,
    r: int = 16,
    alpha: float = 32.0,
    dropout: float = 0.0,
    target_modules: str | Sequence[str] = "all-linear",
    seed: int = 0,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> PreTrainedModel:
    """A policy whose base is frozen and whose new adapters, in float32, are all that has a gradient.

    Args:
        name, dtype, attn_implementation, trust_remote_code, revision: of the base, see :func:`load_policy`.
        r: rank.
        alpha: the adapters' product is scaled by ``alpha / r``.
        dropout: before the adapters, in train mode.
        target_modules: names of layers, or ``all-linear`` for every linear one but the head.
        seed: of the adapters; the global random state is left as it was. They begin as no change to the base.

    Raises:
        ConfigError: if peft is missing, a value is out of range, or no layer has such a name; as :func:`load_policy`.

    Example:
        >>> from importlib.resources import files
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> sum(weight.numel() for weight in student.parameters() if weight.requires_grad)
        10752
    """
    if find_spec("peft") is None:
        raise missing_extra("student: adapters need peft", "lora")
    from peft import LoraConfig  # takes seconds, which runs without it need not wait for

    check_range("r", r, at_least=1)
    check_range("alpha", alpha, above=0)
    check_range("dropout", dropout, at_least=0, at_most=1)
    if not target_modules:
        raise ConfigError(f"target_modules: {target_modules!r} names no layer; give names, or all-linear")
    policy = load_policy(
        name,
        dtype=dtype,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        revision=revision,
    )
    targets = target_modules if isinstance(target_modules, str) else list(target_modules)
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, task_type="CAUSAL_LM")  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            policy.add_adapter(config)
        except ValueError as error:
            raise ConfigError(f"target_modules: {targets!r}: {error}") from error
    policy.requires_grad_(False)
    for key, weight in policy.named_parameters():
        if "lora_" in key:
            weight.data = weight.data.float()
            weight.requires_grad_(True)
    return policy


def base_of(policy: PreTrainedModel) -> PreTrainedModel:
    """The policy without its adapters, frozen: a policy of its own whose weights are those of the base, not a copy.

    Raises:
        ConfigError: if there are no adapters.

    Example:
        >>> from importlib.resources import files
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> has_adapters(base_of(student))
        False
    """
    if not has_adapters(policy):
        raise ConfigError(
            "teacher: the student has no adapters, so that its base is itself; choose student=lora, or another teacher"
        )
    base = frozen_copy(policy)
    _take_adapters_out(base)
    return base


def merged(policy: PreTrainedModel) -> PreTrainedModel:
    """A whole copy on the CPU in which the adapters' products are added to the base's weights: a policy as any other.

    Where an adapter changes one of two tied weights, such as an embedding that is also the head, they are two in the
    copy, and its config says so.

    Raises:
        ValueError: peft's, if a sum is not finite.

    Example:
        >>> from importlib.resources import files
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> has_adapters(merged(student))
        False
    """
    # Copied to the CPU one by one: a device that trains has no room for a second copy.
    weights = {id(weight): nn.Parameter(weight.detach().to("cpu", copy=True), False) for weight in policy.parameters()}
    made = copy.deepcopy(policy, weights)
    made.to(torch.device("cpu"))  # type: ignore[arg-type]  # its buffers
    _untie(made)
    _take_adapters_out(made, merge=True)
    embedding, head = made.get_input_embeddings(), made.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is not None and head.weight is not embedding.weight:
        for config in (made.config, made.config.get_text_config()):
            config.tie_word_embeddings = False
    return made


def has_adapters(policy: PreTrainedModel) -> bool:
    """Return whether the model has peft adapters.

    Example:
        >>> from importlib.resources import files
        >>> has_adapters(load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2))
        True
    """
    return bool(getattr(policy, "peft_config", None))


def _untie(policy: PreTrainedModel) -> None:
    """Give layers with adapters weights of their own, in place, where they share them with other layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    uses = Counter(id(weight) for _, weight in policy.named_parameters(remove_duplicate=False))
    for layer in policy.modules():
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            for name, weight in list(base.named_parameters(recurse=False)):
                if uses[id(weight)] > 1:
                    setattr(base, name, nn.Parameter(weight.detach().clone(), False))


def _take_adapters_out(policy: PreTrainedModel, *, merge: bool = False) -> None:
    """Put the layers back, in place, that adapters of peft, or whole copies that learn, had been put around.

    Args:
        policy: with adapters.
        merge: have the layers as they were learned, and not as they were before.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    taken: list[str] = []
    for name, layer in list(policy.named_modules()):
        if any(name.startswith(f"{outer}.") for outer in taken):
            continue
        if isinstance(layer, AuxiliaryTrainingWrapper):  # modules_to_save, trainable_token_indices
            inner: nn.Module = layer.original_module
            if merge:
                inner = layer.unload_and_optionally_merge_module(True, True, None)
        elif isinstance(layer, BaseTunerLayer):
            if merge:
                layer.merge(safe_merge=True)
            inner = layer.get_base_layer()
        else:
            continue
        policy.set_submodule(name, inner)
        taken.append(name)
    del policy.peft_config
    policy._hf_peft_config_loaded = False
