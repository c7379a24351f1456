"""Policies with low-rank adapters (LoRA, arXiv 2106.09685) on a frozen base, by peft.

Adapters are injected into the transformers model, whose class does not change, so that generation, head and config work
as for any policy. The base can be used as a second policy that shares its weights.
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
    """Load a policy, freeze its weights, and add trainable adapters in float32.

    Args:
        name, dtype, attn_implementation, trust_remote_code, revision: as in :func:`load_policy`, for the base.
        r: rank of the adapters.
        alpha: scale; the product of the adapters is multiplied by ``alpha / r``.
        dropout: dropout probability before the adapters, in train mode.
        target_modules: names of layers, or ``all-linear`` for every linear layer except the head.
        seed: seed of the adapters; the global random state does not change. Initial adapters do not change the output.

    Raises:
        ConfigError: as :func:`load_policy`; also if peft is not installed, a value is out of range, or no layer has
            such a name.

    Example:
        >>> from importlib.resources import files
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> sum(weight.numel() for weight in student.parameters() if weight.requires_grad)
        10752
    """
    if find_spec("peft") is None:
        raise missing_extra("student: adapters need peft", "lora")
    from peft import LoraConfig  # takes seconds, and runs without adapters do not need it

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
    """Return the base, without adapters, as a second policy that is frozen and shares the base's weights.

    Raises:
        ConfigError: if the policy has no adapters.

    Example:
        >>> from importlib.resources import files
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> student.num_parameters(), base_of(student).num_parameters()
        (370752, 360000)
    """
    if not has_adapters(policy):
        raise ConfigError(
            "teacher: the student has no adapters, so it has no other base; choose student=lora, or another teacher"
        )
    base = frozen_copy(policy)
    _take_adapters_out(base)
    return base


def merged(policy: PreTrainedModel) -> PreTrainedModel:
    """Return a copy on the CPU with the adapters merged into the base's weights.

    If an adapter changes one of two tied weights (an embedding that is also the head), the copy's weights are not tied,
    and its config says so.

    Raises:
        ValueError: from peft, if a merged weight is not finite.

    Example:
        >>> from importlib.resources import files
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> student.num_parameters(), merged(student).num_parameters()
        (370752, 360000)
    """
    # Weights are copied to the CPU one by one: a GPU in training has no memory for a second copy.
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
        >>> student = load_lora_policy(files("dopd_lightning.assets") / "quickstart_student", r=2)
        >>> has_adapters(student), has_adapters(merged(student))
        (True, False)
    """
    return bool(getattr(policy, "peft_config", None))


def _untie(policy: PreTrainedModel) -> None:
    """Untie, in place, the weights that a layer with adapters shares with another layer."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    uses = Counter(id(weight) for _, weight in policy.named_parameters(remove_duplicate=False))
    for layer in policy.modules():
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            for name, weight in list(base.named_parameters(recurse=False)):
                if uses[id(weight)] > 1:
                    setattr(base, name, nn.Parameter(weight.detach().clone(), False))


def _take_adapters_out(policy: PreTrainedModel, *, merge: bool = False) -> None:
    """Replace peft's wrappers, of adapters or of trainable copies of layers, by the layers themselves, in place.

    Args:
        policy: policy with adapters.
        merge: whether the layers get the trained weights; otherwise they keep the base's.
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
