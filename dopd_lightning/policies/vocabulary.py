"""Checks that policies share a vocabulary, and its size without padding.

Models of one family share a tokenizer, but may pad their vocabulary to different sizes (Qwen: 151,936 and 152,064).
Divergences are computed over the tokens without padding. Different tokenizers are an error: one id would mean unrelated
tokens, and the loss would fall all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from dopd_lightning.errors import ConfigError

# Tokenizers with equal vocabularies but different merges or pre-tokenization split this text differently.
_PROBE = "The  quick brown fox: 12,345.67 + 89 = ?\n\tdef f(x):\n    return x**2  # naïve café, 汉字, Привет 🙂"


def check_same_tokenizer(
    student: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, other_name: str = "teacher"
) -> None:
    """Raise ConfigError if two tokenizers differ in a token or on a probe text.

    Tokens that only the other tokenizer has are allowed: chat variants of a model add some.

    Args:
        student: tokenizer of the student.
        other: tokenizer of another policy.
        other_name: name of the other policy in the error.

    Raises:
        ConfigError: naming a token with two ids, an id of two tokens, a token that only the student has, or a part of
            the probe text that is split differently.

    Example:
        >>> from dopd_lightning.policies import new_tokenizer
        >>> digits, words = new_tokenizer(["1 + 1 = 2"]), new_tokenizer(["one and one"])
        >>> check_same_tokenizer(digits, digits)
        >>> check_same_tokenizer(digits, words)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        dopd_lightning.errors.ConfigError: student and teacher have different tokenizers: ...
    """
    ours, theirs = student.get_vocab(), other.get_vocab()
    for token, ours_id in sorted(ours.items(), key=lambda item: item[1]):
        if token in theirs and theirs[token] != ours_id:
            raise _different(
                other_name, f"token {token!r} is id {ours_id} for the student, {theirs[token]} for the other"
            )
    their_tokens = {token_id: token for token, token_id in theirs.items()}
    for token, ours_id in ours.items():
        if their_tokens.get(ours_id, token) != token:
            their_token = their_tokens[ours_id]
            raise _different(other_name, f"id {ours_id} is {token!r} for the student, {their_token!r} for the other")
    for token, ours_id in ours.items():
        if token not in theirs:  # the other's logit for this id, if any, is untrained padding
            raise _different(other_name, f"only the student has token {token!r} (id {ours_id})")
    ours_probe = student.encode(_PROBE, add_special_tokens=False)
    theirs_probe = other.encode(_PROBE, add_special_tokens=False)
    if ours_probe != theirs_probe:
        at = next(
            (i for i, pair in enumerate(zip(ours_probe, theirs_probe, strict=False)) if pair[0] != pair[1]),
            min(len(ours_probe), len(theirs_probe)) - 1,
        )
        split = tuple(
            each.decode(ids[at : at + 1], clean_up_tokenization_spaces=False)
            for each, ids in ((student, ours_probe), (other, theirs_probe))
        )
        raise _different(
            other_name, f"the same text splits into {split[0]!r} for the student, {split[1]!r} for the other"
        )


def shared_vocabulary_size(tokenizer: PreTrainedTokenizerBase, configs: Mapping[str, PreTrainedConfig]) -> int:
    """Return the number of tokens without padding; logits of all policies are cut to it before they are compared.

    Args:
        tokenizer: tokenizer that the policies share.
        configs: configs of the policies by name.

    Raises:
        ConfigError: if a policy has fewer logits than the tokenizer has tokens.

    Example:
        >>> from transformers import Qwen3Config
        >>> from dopd_lightning.policies import new_tokenizer
        >>> tokenizer = new_tokenizer(["1 + 1 = 2"] * 9, vocabulary_size=265)
        >>> configs = {"student": Qwen3Config(vocab_size=512), "teacher": Qwen3Config(vocab_size=320)}
        >>> shared_vocabulary_size(tokenizer, configs)
        265
    """
    size = max(tokenizer.get_vocab().values()) + 1
    for name, config in configs.items():
        logits = config.get_text_config().vocab_size
        if logits < size:
            raise ConfigError(
                f"{name}: its vocabulary has {logits} tokens, but the tokenizer has {size}; use its own tokenizer"
            )
    return size


def _different(other_name: str, how: str) -> ConfigError:
    return ConfigError(
        f"student and {other_name} have different tokenizers: {how}. Their tokens cannot be compared; choose a "
        f"{other_name} of the student's family."
    )
