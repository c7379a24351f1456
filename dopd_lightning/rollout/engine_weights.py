"""Weights of a policy for an engine with a copy, named as in the policy's files."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from dopd_lightning.distributed.processes import process_number
from dopd_lightning.errors import ConfigError


@torch.no_grad()
def checkpoint_weights(policy: PreTrainedModel, device: torch.device | str) -> dict[str, Tensor]:
    """Return the weights by the names in the model's files, each tied one once.

    Sharded weights are gathered one at a time; all processes must call this. Rank 0 gets the weights, others nothing.

    Args:
        policy: of any transformers architecture.
        device: device of the result; weights that are there already are not copied.

    Raises:
        ConfigError: for a policy with adapters, which an engine would need merged.
    """
    if getattr(policy, "peft_config", None):
        raise ConfigError(
            "engine: a student with an adapter can only be written by transformers; choose engine=transformers, or "
            "train all weights"
        )
    weights, first = {}, process_number() == 0
    seen: set[int] = set()
    for name, weight in policy.state_dict(keep_vars=True).items():
        if id(weight) in seen:
            continue
        seen.add(id(weight))
        whole = weight.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        if first:
            weights[name] = whole.to(device)
    return dict(revert_weight_conversion(policy, weights)) if first else {}
