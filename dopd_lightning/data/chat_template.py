"""Rendering of chats as text by a tokenizer's chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from dopd_lightning.data.example import ANSWERING_ROLES, Message
from dopd_lightning.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE_ANSWER = "violet"
_PROBE: list[Message] = [
    {"role": "user", "content": "Which colour?"},
    {"role": "assistant", "content": _PROBE_ANSWER},
]
_SWITCHES = re.compile(r"/(?:no_)?think\b")
"""Switches in a message that some templates act on and remove."""
_PART = re.compile(r"[\"']type[\"']: ?[\"']text[\"']")
"""Start of content in parts, written out by a template that expects content to be text."""


def render(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    arguments: Mapping[str, Any] | None = None,
    *,
    add_generation_prompt: bool = True,
) -> str:
    """Render a chat as one text, and check that the text contains each message.

    The template gets content as plain text. If that fails, it gets content in parts
    (``[{"type": "text", "text": …}]``), as templates of models that also read images expect it.

    Args:
        messages: messages with role and content.
        tokenizer: tokenizer with the chat template.
        arguments: further arguments of the template.
        add_generation_prompt: whether to open the assistant's next turn.

    Raises:
        DataError: if the tokenizer has no template, or the template refuses the chat or leaves out some of it.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"prompt: chat messages need a tokenizer with a chat template, and {tokenizer.name_or_path!r} has none;"
            " give prompts as plain text, or set tokenizer.chat_template"
        )
    in_parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
    first_error: DataError | None = None
    forms: tuple[Any, ...] = ([dict(message) for message in messages], in_parts)
    for form in forms:
        try:
            text = str(
                tokenizer.apply_chat_template(
                    form, add_generation_prompt=add_generation_prompt, tokenize=False, **(arguments or {})
                )
            )
            _check_all_there(messages, text if form is not in_parts else _PART.split(text)[0])
        except DataError as error:
            first_error = first_error or error
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            # A template is a program: it can raise any of these.
            found = str([dict(message) for message in messages[:3]])[:200]
            refused = DataError(f"prompt: the tokenizer's chat template refuses {found} ({error})")
            refused.__cause__ = error
            first_error = first_error or refused
        else:
            return text
    assert first_error is not None, "both forms failed"
    raise first_error


def end_of_turn(
    tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] | None = None, known: Collection[int] = ()
) -> int | None:
    """Return the token that the chat template writes after an assistant's message; ``None`` if it writes none.

    Args:
        tokenizer: tokenizer with the chat template.
        arguments: further arguments of the template.
        known: tokens that end a text. Of several special tokens after the message (Command R7B ends the answer, then
            the turn; Phi-3 ends the turn, then the text), the first known one is returned, or else the first one.
    """
    try:
        text = render(_PROBE, tokenizer, arguments, add_generation_prompt=False)
    except DataError:  # no template, or one that refuses this chat
        return None
    behind = text.rpartition(_PROBE_ANSWER)[2]
    added = {token: str(entry) for token, entry in tokenizer.added_tokens_decoder.items()}
    special = {*tokenizer.all_special_ids, *(token for token, written in added.items() if written.strip())}
    ids = [token for token in tokenizer(behind, add_special_tokens=False)["input_ids"] if token in special]
    return next((token for token in ids if token in known), ids[0] if ids else None)


def _check_all_there(messages: Sequence[Message], text: str) -> None:
    """Raise DataError if the text lacks the content of a message.

    Whitespace is ignored, since templates strip or change it. Content may be escaped as in JSON, as that of tools often
    is. Of the assistant's messages only the last line is searched: templates drop the thinking before an answer.

    Raises:
        DataError: naming the message.
    """
    text = "".join(_SWITCHES.sub("", text).split())
    for number, message in enumerate(messages):
        content = _SWITCHES.sub("", message["content"]).strip()
        if message["role"] in ANSWERING_ROLES:
            content = content.rpartition("\n")[2]
        forms = (content, json.dumps(content, ensure_ascii=False)[1:-1])
        if not any("".join(form.split()) in text for form in forms):
            raise DataError(
                f"prompt: the tokenizer's chat template leaves out the content of message {number} "
                f"({message['role']!r}), {message['content'][:60]!r}; use another template (tokenizer.chat_template), "
                "or write the prompt as the template expects it"
            )
