"""Whether the parts of a run fit together: what can be known to fail before the first step."""

from __future__ import annotations

import sys
from typing import get_args

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Verifier, get_verifier
from dopd_lightning.divergence import Reduction
from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.fusion import FusionRule
from dopd_lightning.policies import check_same_tokenizer, shared_vocabulary_size, tokenizer_of
from dopd_lightning.rollout import Rollout


def check_settings(reduction: str, loss_temperature: float, verifier: str | Verifier) -> None:
    """Refuse settings of the module that cannot work; this needs no model loaded.

    Raises:
        ConfigError: listing the choices, or stating the range.
    """
    check_choice("reduction", reduction, get_args(Reduction))
    check_range("loss_temperature", loss_temperature, above=0)
    get_verifier(verifier)


def check_teacher_given(teacher: object, fusion: FusionRule, rollout: Rollout) -> None:
    """Refuse a missing teacher; this needs no model loaded.

    Raises:
        ConfigError: if there is none, but the fusion rule or the rollout needs one.
    """
    for who, needs in (("fusion rule", "teacher" in fusion.needs), ("rollout", rollout.needs_teacher)):
        if teacher is None and needs:
            raise ConfigError(f"teacher: there is none, but the {who} needs one; give a model, or choose another {who}")


def check_top_k(fusion: FusionRule, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a support larger than the vocabulary; this needs no model loaded.

    Raises:
        ConfigError: if the rule's ``top_k`` is above the number of tokens.
    """
    top_k, size = getattr(fusion, "top_k", 0), max(tokenizer.get_vocab().values()) + 1
    if top_k > size:
        raise ConfigError(f"fusion.top_k: {top_k} is above the vocabulary of {size} tokens; choose at most that")


def check_policies(
    policies: dict[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    tokenizers: dict[str, PreTrainedTokenizerBase | str | None],
    fusion: FusionRule,
) -> int:
    """Check that the policies can be compared token by token, and that the settings suit them.

    Args:
        policies: by role, those with weights of their own.
        tokenizer: the student's.
        tokenizers: of other roles, by role, where they were given.
        fusion: its ``top_k`` must be within the vocabulary.

    Returns:
        The number of real tokens, which all share.

    Raises:
        ConfigError: for parts that do not fit.
    """
    for number, (role, policy) in enumerate(policies.items()):
        for other in list(policies)[:number]:
            if policy is policies[other]:
                raise ConfigError(
                    f"{role}: it is the same model object as the {other}, so that there is nothing to compare; load it "
                    "twice, or choose another model (for the student as its own reference: reference='student')"
                )
        if role != "student" and (tokenizers.get(role) is not None or policy.name_or_path):
            # A model built in memory has no tokenizer of its own: the vocabulary sizes are all that can be compared.
            check_same_tokenizer(tokenizer, tokenizer_of(policy, tokenizers.get(role)), role)
    size = shared_vocabulary_size(tokenizer, policies)
    check_top_k(fusion, tokenizer)
    return size


def room_for_prompt(policies: dict[str, PreTrainedModel], rollout: Rollout) -> int:
    """The longest prompt, in tokens, that leaves every policy positions for ``rollout.max_new_tokens`` more.

    Raises:
        ConfigError: if there is no room for any.
    """
    limit = rollout.sampling.max_new_tokens
    room = sys.maxsize
    for role, policy in policies.items():
        positions = getattr(policy.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
        if limit >= positions:
            raise ConfigError(
                f"rollout.max_new_tokens: {limit} leaves no room for a prompt in the {role}'s {positions} positions"
            )
        room = min(room, positions - limit)
    return room
