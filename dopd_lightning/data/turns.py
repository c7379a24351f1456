"""Completions of several turns: a chat that goes on behind its prompt, some of it written by others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dopd_lightning.data.chat_template import render
from dopd_lightning.data.example import ANSWERING_ROLES, Message, shortened
from dopd_lightning.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Turns(NamedTuple):
    """Tokens of a completion, and which of them the assistant wrote: both one a token."""

    ids: list[int]
    own: list[bool]


def turns_of(
    prompt: Sequence[Message],
    completion: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    arguments: Mapping[str, Any] | None = None,
    ends: Collection[int] = (),
) -> Turns:
    """Tokenize a completion of chat messages as the chat template writes it behind its prompt.

    The assistant's own tokens are its contents and the token that ends each of its turns. What opens a turn, and what
    tools or users say in between, is read and not learned.

    Args:
        prompt: the chat before, ending with a message to answer.
        completion: the messages behind it, the assistant's first and last.
        tokenizer: has the template.
        arguments: passed on to the template.
        ends: tokens that end a turn.

    Raises:
        DataError: for a completion that begins or ends with another's message, or a template that writes earlier
            messages otherwise once later ones are there.
    """
    for message in (completion[0], completion[-1]):
        if message["role"] not in ANSWERING_ROLES:
            raise DataError(
                f"completion: it begins and ends with the assistant's messages, and here is one of "
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
                f"completion: the tokenizer's chat template writes the turns before message {number - 1} otherwise "
                "once it is there (some leave out earlier thinking); use a template that keeps them"
            )
        piece = tokenizer(text[len(so_far) :], add_special_tokens=False)["input_ids"]
        learned = len(piece)
        if answers:  # up to the end of the turn: what the template writes behind it is not the assistant's
            learned = next((place for place, token in enumerate(piece, start=1) if token in ends), len(piece))
        ids += piece
        own += [answers and place < learned for place in range(len(piece))]
        so_far = text
    while ids and not own[-1]:
        del ids[-1], own[-1]
    return Turns(ids, own)
