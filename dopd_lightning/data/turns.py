"""Completions of several turns: chats that continue a prompt, with messages of the assistant and of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dopd_lightning.data.chat_template import render
from dopd_lightning.data.example import ANSWERING_ROLES, Message, shortened
from dopd_lightning.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Turns(NamedTuple):
    """Token ids of a completion, and for each token whether the assistant wrote it."""

    ids: list[int]
    own: list[bool]


def turns_of(
    prompt: Sequence[Message],
    completion: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    arguments: Mapping[str, Any] | None = None,
    ends: Collection[int] = (),
) -> Turns:
    """Tokenize a chat completion as the chat template writes it after its prompt.

    The assistant's own tokens are the contents of its messages and the token that ends each of its turns. Tokens that
    open a turn, and messages of tools or users in between, are read but not learned.

    Args:
        prompt: chat that ends with a message to answer.
        completion: messages after the prompt; the first and the last are the assistant's.
        tokenizer: tokenizer with the chat template.
        arguments: further arguments of the template.
        ends: tokens that end a turn.

    Raises:
        DataError: if the first or the last message is not the assistant's, or the template changes earlier messages
            once later ones are there.
    """
    for message in (completion[0], completion[-1]):
        if message["role"] not in ANSWERING_ROLES:
            raise DataError(
                f"completion: its first and last message must be the assistant's, found one with the role "
                f"{message['role']!r}, {shortened(message['content'])}"
            )
    ids: list[int] = []
    own: list[bool] = []
    so_far = render(prompt, tokenizer, arguments)
    for number, message in enumerate(completion, start=1):
        answers = message["role"] in ANSWERING_ROLES
        opens = number < len(completion) and completion[number]["role"] in ANSWERING_ROLES
        text = render([*prompt, *completion[:number]], tokenizer, arguments, add_generation_prompt=opens)
        if not text.startswith(so_far):
            raise DataError(
                f"completion: the tokenizer's chat template changes the turns before message {number - 1} once that "
                "message is there (some templates drop earlier thinking); use a template that keeps them"
            )
        piece = tokenizer(text[len(so_far) :], add_special_tokens=False)["input_ids"]
        learned = len(piece)
        if answers:  # its own tokens end with the turn; the template may write more after it
            learned = next((place for place, token in enumerate(piece, start=1) if token in ends), len(piece))
        ids += piece
        own += [answers and place < learned for place in range(len(piece))]
        so_far = text
    while ids and not own[-1]:
        del ids[-1], own[-1]
    return Turns(ids, own)
