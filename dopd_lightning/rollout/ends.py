"""The tokens that end a response: those of every policy that takes part, and of their chat templates."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Example, PromptFormat
from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import end_of_sequence_ids


@dataclass(frozen=True)
class Ends:
    """The tokens that end responses.

    Attributes:
        ids: every token that ends one, in ascending order.
        behind_text: the token that a completion of plain text gets.
        behind_turn: the token that a completion of a chat gets.
    """

    ids: list[int]
    behind_text: int
    behind_turn: int

    def behind(self, example: Example) -> int:
        """The token that the example's completion gets."""
        return self.behind_text if isinstance(example["prompt"], str) else self.behind_turn


def ends_of(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, prompt_format: PromptFormat
) -> list[int]:
    """Every token that ends a response of one policy: its own, and what its chat template writes behind a turn."""
    own = end_of_sequence_ids(policy, tokenizer)
    turn = None if tokenizer is None else prompt_format.end_of_turn(tokenizer, own)
    return sorted({*own, *([] if turn is None else [turn])})


def find_ends(
    policies: Mapping[str, PreTrainedModel],
    tokenizers: Mapping[str, PreTrainedTokenizerBase],
    prompt_format: PromptFormat,
    vocabulary_size: int,
) -> Ends:
    """The ends of all policies' responses, with a warning that names those which are none of the student's own.

    A student that learns from a teacher that ends its turns otherwise learns to write that end: it has to stop there.

    Args:
        policies: by role, the student's among them.
        tokenizers: of those that have one, by role.
        prompt_format: writes the chats.
        vocabulary_size: number of real tokens; a source's own beyond them cannot be written.

    Raises:
        ConfigError: if there is no such token.
    """
    tokenizer = tokenizers["student"]
    found = {role: ends_of(policy, tokenizers.get(role), prompt_format) for role, policy in policies.items()}
    ids = sorted({token for own in found.values() for token in own if 0 <= token < vocabulary_size})
    if not ids:
        raise ConfigError("tokenizer: no token ends a response; set the tokenizer's eos_token")
    own = [token for token in end_of_sequence_ids(policies["student"], tokenizer) if token in ids]
    for role, theirs in found.items():
        if theirs and not {*theirs} & {*ids}:
            rank_zero_warn(
                f"the {role} ends its texts with {_named(theirs, tokenizers[role])}, which is no token of the student: "
                "a source that finds the student's ends unlikely teaches it to go on. Choose models that end alike"
            )
    added = {token: [role for role, theirs in found.items() if token in theirs] for token in ids if token not in own}
    if added:
        reasons = [
            f"{_named([token], tokenizer)}, of the {' and the '.join(_source(role) for role in roles)}"
            for token, roles in added.items()
        ]
        rank_zero_warn(
            f"responses also end with {'; '.join(reasons)}. The student's own end is {_named(own, tokenizer)}; the "
            "exported student stops at each of them"
        )
    text = tokenizer.eos_token_id if tokenizer.eos_token_id in ids else (own or ids)[0]
    turn = prompt_format.end_of_turn(tokenizer, own)
    return Ends(ids, text, text if turn is None else turn)


def _source(role: str) -> str:
    return "student's chat template" if role == "student" else role


def _named(ids: Iterable[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return ", ".join(f"{tokenizer.convert_ids_to_tokens(token)!r} (id {token})" for token in ids) or "missing"


@contextmanager
def ends_named(student: PreTrainedModel, ids: Sequence[int]) -> Iterator[None]:
    """Put these end tokens into the generation config, so that a student saved inside stops at them."""
    own = student.generation_config
    if own is None:
        yield
        return
    named = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    kept = [token for token in named if token is not None]
    more = [token for token in ids if token not in kept]
    if more:
        student.generation_config = copy.deepcopy(own)
        student.generation_config.eos_token_id = [*kept, *more] if kept or more[1:] else more[0]
    try:
        yield
    finally:
        student.generation_config = own
