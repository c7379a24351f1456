"""Chats as the text that a tokenizer's chat template makes of them."""

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
"""Words that some templates take out of a message, since they act on them."""
_PART = re.compile(r"[\"']type[\"']: ?[\"']text[\"']")
"""The code of content in parts, where a template takes it for text."""


def render(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    arguments: Mapping[str, Any] | None = None,
    *,
    add_generation_prompt: bool = True,
) -> str:
    """The chat as one text, in which the content of each message is found.

    Content is given to the template as plain text, or else in parts (``[{"type": "text", "text": …}]``), as templates
    of models that also read images want it.

    Args:
        messages: roles and contents.
        tokenizer: has the template.
        arguments: passed on to the template.
        add_generation_prompt: whether the assistant's next turn is opened.

    Raises:
        DataError: if the tokenizer has no template, or the template refuses the chat or leaves some of it out.
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
            # A template is a program, and fails as programs do.
            found = str([dict(message) for message in messages[:3]])[:200]
            refused = DataError(f"prompt: the tokenizer's chat template refuses {found} ({error})")
            refused.__cause__ = error
            first_error = first_error or refused
        else:
            return text
    assert first_error is not None, "there are two forms"
    raise first_error


def end_of_turn(
    tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] | None = None, known: Collection[int] = ()
) -> int | None:
    """The token that the chat template writes behind an assistant's message; ``None`` if it writes none.

    Args:
        tokenizer: has the template.
        arguments: passed on to the template.
        known: tokens that end texts: one of these, where several special tokens stand there (Command R7B closes the
            answer, then the turn; Phi-3 the turn, then the text); otherwise the first.
    """
    try:
        text = render(_PROBE, tokenizer, arguments, add_generation_prompt=False)
    except DataError:  # there is no template, or none for such a chat
        return None
    behind = text.rpartition(_PROBE_ANSWER)[2]
    added = {token: str(entry) for token, entry in tokenizer.added_tokens_decoder.items()}
    special = {*tokenizer.all_special_ids, *(token for token, written in added.items() if written.strip())}
    ids = [token for token in tokenizer(behind, add_special_tokens=False)["input_ids"] if token in special]
    return next((token for token in ids if token in known), ids[0] if ids else None)


def _check_all_there(messages: Sequence[Message], text: str) -> None:
    """Refuse a text without a message's content.

    Templates strip contents, or break their lines otherwise; write tools' as JSON; and drop the thinking that stands
    before an earlier answer.

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
                "or write the prompt as the template takes it"
            )
