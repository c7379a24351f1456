"""Freezing of policies that only answer or score."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.errors import ConfigError


def freeze(policy: nn.Module) -> None:
    """Eval mode, and no gradient for any parameter.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> freeze(linear)
        >>> linear.training, linear.weight.requires_grad
        (False, False)
    """
    policy.eval()
    policy.requires_grad_(False)


def frozen_copy(policy: PreTrainedModel) -> PreTrainedModel:
    """The policy as it is now, frozen. Weights that are frozen already are not copied but shared: a base, of adapters.

    What is shared has to stay frozen, or the copy would change with the policy.
    """
    frozen = {id(weight): weight for weight in policy.parameters() if not weight.requires_grad}
    made = copy.deepcopy(policy, frozen)  # deepcopy takes what it finds there for copied already
    freeze(made)
    return made


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """Eval mode inside, and every submodule's own mode again outside.

    The student trains in train mode but writes rollouts, and scores as a reference, in eval mode: dropout would make
    its answers another policy's and the target stochastic.

    Example:
        >>> dropout = nn.Dropout()
        >>> with evaluating(dropout):
        ...     print(dropout.training)
        False
        >>> dropout.training
        True
    """
    modes = {module: module.training for module in policy.modules()}
    policy.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def checkpoint_activations(policy: PreTrainedModel) -> None:
    """Have the policy's layers, in train mode, compute again in the backward pass what they would otherwise keep.

    Raises:
        ConfigError: if the architecture cannot.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> checkpoint_activations(student)
        >>> any(getattr(module, "gradient_checkpointing", False) for module in student.modules())
        True
    """
    if not policy.supports_gradient_checkpointing:
        raise ConfigError(
            f"activation_checkpointing: {type(policy).__name__} cannot compute its activations again; set it to false"
        )
    # Its name in early releases of transformers 5 is deprecated in later ones.
    enable = getattr(policy, "activation_checkpointing_enable", None) or policy.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def end_of_sequence_ids(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Every token that ends a text of ``policy``: its generation config's, its config's and its tokenizer's.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> end_of_sequence_ids(load_policy(files("dopd_lightning.assets") / "quickstart_student"), None)
        [2]
    """
    found: set[int] = set()
    for config in (policy.generation_config, policy.config, tokenizer):
        ids = getattr(config, "eos_token_id", None)
        found.update([ids] if isinstance(ids, int) else ids or [])
    return sorted(found)
