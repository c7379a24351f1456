"""Checks that policies share a vocabulary, and its number of real tokens.

Models of one family share a tokenizer but may pad their vocabulary to different sizes (Qwen: 151,936 and 152,064):
padding is no token, so divergences are computed over the real ones. Two different tokenizers are refused: ids would
compare unrelated tokens, with a loss that falls all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from dopd_lightning.errors import ConfigError

# Text on which tokenizers of different merges or pre-tokenization part, even where their vocabularies agree.
_PROBE = "The  quick brown fox: 12,345.67 + 89 = ?\n\tdef f(x):\n    return x**2  # naïve café, 汉字, Привет 🙂"


def check_same_tokenizer(
    student: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, other_name: str = "teacher"
) -> None:
    """Compare two tokenizers, token by token and on a probe text.

    Tokens that only the other one has are no conflict (chat variants add some): the comparison leaves them out.

    Raises:
        ConfigError: showing a token that has different ids or that only the student has, or an id that is different
            tokens.

    Example:
        >>> from dopd_lightning.policies import new_tokenizer
        >>> tokenizer = new_tokenizer(["1 + 1 = 2"])
        >>> check_same_tokenizer(tokenizer, tokenizer)
    """
    ours, theirs = student.get_vocab(), other.get_vocab()
    for token, ours_id in sorted(ours.items(), key=lambda item: item[1]):
        if token in theirs and theirs[token] != ours_id:
            raise _different(other_name, f"token {token!r} is id {ours_id} for the student, {theirs[token]} for it")
    their_tokens = {token_id: token for token, token_id in theirs.items()}
    for token, ours_id in ours.items():
        if their_tokens.get(ours_id, token) != token:
            raise _different(
                other_name, f"id {ours_id} is token {token!r} for the student, {their_tokens[ours_id]!r} for it"
            )
    for token, ours_id in ours.items():
        if token not in theirs:  # the other's logit of it, if there is one, is padding that never was trained
            raise _different(other_name, f"token {token!r} (id {ours_id}) is the student's alone")
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
        raise _different(other_name, f"the same text is split as {split[0]!r} for the student, {split[1]!r} for it")


def shared_vocabulary_size(tokenizer: PreTrainedTokenizerBase, configs: Mapping[str, PreTrainedConfig]) -> int:
    """Number of real tokens: what every policy's logits are cut to before they are compared.

    Args:
        tokenizer: the shared one.
        configs: of the policies, by name.

    Raises:
        ConfigError: if a policy has fewer logits than the tokenizer has tokens.

    Example:
        >>> from transformers import Qwen3Config
        >>> from dopd_lightning.policies import new_tokenizer
        >>> tokenizer = new_tokenizer(["1 + 1 = 2"])
        >>> configs = {"student": Qwen3Config(vocab_size=512), "teacher": Qwen3Config(vocab_size=320)}
        >>> shared_vocabulary_size(tokenizer, configs) == len(tokenizer)
        True
    """
    size = max(tokenizer.get_vocab().values()) + 1
    for name, config in configs.items():
        logits = config.get_text_config().vocab_size
        if logits < size:
            raise ConfigError(
                f"{name}: its vocabulary has {logits} tokens, but the tokenizer has {size}; is it another model's?"
            )
    return size


def _different(other_name: str, how: str) -> ConfigError:
    return ConfigError(
        f"student and {other_name} have different tokenizers: {how}. Their tokens cannot be compared; choose a "
        f"{other_name} of the student's family."
    )
