"""Freezing of policies, eval mode, activation checkpointing, and the tokens that end a text."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.errors import ConfigError


def freeze(policy: nn.Module) -> None:
    """Put a policy into eval mode and turn off gradients of all its parameters, in place.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> freeze(linear)
        >>> linear.training, linear.weight.requires_grad
        (False, False)
    """
    policy.eval()
    policy.requires_grad_(False)


def frozen_copy(policy: PreTrainedModel) -> PreTrainedModel:
    """Return a frozen copy of the policy that shares its frozen weights, such as the base of adapters.

    The shared weights have to stay frozen: otherwise the copy changes with the policy.
    """
    frozen = {id(weight): weight for weight in policy.parameters() if not weight.requires_grad}
    made = copy.deepcopy(policy, frozen)  # deepcopy does not copy objects in its memo
    freeze(made)
    return made


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """Put a policy into eval mode inside the block, and restore the mode of every submodule afterwards.

    The student trains in train mode. It writes rollouts, and scores tokens as a reference, in eval mode: with dropout,
    responses would come from another policy, and targets would be random.

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
    """Turn on activation checkpointing, which saves memory: in train mode, layers recompute activations in backward.

    Raises:
        ConfigError: if the architecture does not support it.

    Example:
        >>> from importlib.resources import files
        >>> from dopd_lightning.policies import load_policy
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> checkpoint_activations(student)
        >>> any(getattr(module, "gradient_checkpointing", False) for module in student.modules())
        True
    """
    if not policy.supports_gradient_checkpointing:
        raise ConfigError(f"activation_checkpointing: {type(policy).__name__} does not support it; set it to false")
    # Later releases of transformers 5 renamed the method.
    enable = getattr(policy, "activation_checkpointing_enable", None) or policy.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def end_of_sequence_ids(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Return the ids of all tokens that end a text, by generation config, model config and tokenizer, sorted.

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
