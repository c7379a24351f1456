"""Rendering of examples as prompts, in text and tokens, with and without privileged text."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from torch.utils.data import Dataset, Subset

from dopd_lightning.data.chat_template import end_of_turn, render
from dopd_lightning.data.example import ANSWERING_ROLES, Example, Message, check_example, completion_text, shortened
from dopd_lightning.data.placeholders import check_no_placeholder
from dopd_lightning.data.turns import Turns, turns_of
from dopd_lightning.errors import ConfigError, DataError, check_choice, check_range

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

MOST_CHECKED = 2_000
"""Number of prompts of a generated dataset that are measured before training if overlong prompts are an error."""

_OURS = ("add_generation_prompt", "tokenize", "conversation", "return_tensors", "return_dict", "continue_final_message")


@dataclass(frozen=True)
class PromptFormat:
    """Templates for privileged text, and the limit on prompt length.

    Args:
        privileged_text: template for plain text, with the fields ``{prompt}`` and ``{privileged}``.
        privileged_message: template for the last user message of a chat, with ``{content}`` and ``{privileged}``.
        chat_template_kwargs: further arguments of the chat template, such as Qwen3's ``{"enable_thinking": False}``.
        max_tokens: limit on prompt length in tokens, with and without privileged text.
        overlong: ``fail`` or ``drop``, for longer prompts in :meth:`select`. Prompts are never truncated.

    Raises:
        ConfigError: if a template lacks a field, the limit is below 1, or a chat template argument is reserved.

    Example:
        >>> example = {"prompt": "12 + 34 = ?", "privileged": "Add the tens first."}
        >>> PromptFormat(privileged_text="{prompt} ({privileged})").text(example, tokenizer=None, privileged=True)
        '12 + 34 = ? (Add the tens first.)'
    """

    privileged_text: str = "{prompt}\n\nHint: {privileged}"
    privileged_message: str = "{content}\n\nHint: {privileged}"
    chat_template_kwargs: Mapping[str, Any] | None = None
    max_tokens: int = 1024
    overlong: str = "fail"

    def __post_init__(self) -> None:
        for setting, field in (("privileged_text", "prompt"), ("privileged_message", "content")):
            for name in (field, "privileged"):
                if f"{{{name}}}" not in getattr(self, setting):
                    raise ConfigError(f"{setting}: {getattr(self, setting)!r} must contain {{{name}}}")
        for name in self.chat_template_kwargs or {}:
            if name in _OURS:
                raise ConfigError(f"chat_template_kwargs: {name!r} is set by the prompt format and cannot be passed on")
        check_range("max_tokens", self.max_tokens, at_least=1)
        check_choice("overlong", self.overlong, ("fail", "drop"))

    def text(self, example: Example, tokenizer: PreTrainedTokenizerBase, privileged: bool) -> str:
        """Return the prompt as one text, with the privileged text if the example has one and ``privileged`` is true.

        Raises:
            DataError: if the chat template refuses the chat or leaves out some of it, the chat ends with an answer, or
                it has no user message for the privileged text.
        """
        hint = example.get("privileged") if privileged else None
        prompt = example["prompt"]
        if isinstance(prompt, str):
            return prompt if hint is None else _fill(self.privileged_text, prompt=prompt, privileged=hint)
        messages = [cast(Message, dict(message)) for message in prompt]
        if hint is not None:
            last = next((message for message in reversed(messages) if message["role"] == "user"), None)
            if last is None:
                roles = ", ".join(repr(message["role"]) for message in messages)
                raise DataError(f"prompt: privileged text goes into the last 'user' message, but the roles are {roles}")
            last["content"] = _fill(self.privileged_message, content=last["content"], privileged=hint)
        if messages[-1]["role"] in ANSWERING_ROLES:
            raise DataError(
                f"prompt: the chat already ends with an answer, {shortened(messages[-1]['content'])}; a prompt ends "
                "with the message to answer"
            )
        return render(messages, tokenizer, self.chat_template_kwargs)

    def end_of_turn(self, tokenizer: PreTrainedTokenizerBase, known: Collection[int]) -> int | None:
        """Return the token that the chat template writes after an assistant's message, or ``None``.

        Args:
            tokenizer: tokenizer with the chat template.
            known: tokens that end a text.
        """
        return end_of_turn(tokenizer, self.chat_template_kwargs, known)

    def token_ids(self, example: Example, tokenizer: PreTrainedTokenizerBase, privileged: bool) -> list[int]:
        """Return the token ids of :meth:`text`, after which the response follows.

        Chat templates write their special tokens themselves. Plain text gets the tokenizer's special tokens (such as a
        first ``<s>``, unless the text begins with it), but no end-of-sequence token, after which nothing would follow.

        Raises:
            DataError: as :meth:`text`; also for a placeholder token for an image, a video or audio.
        """
        text = self.text(example, tokenizer, privileged)
        plain: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        check_no_placeholder(text, tokenizer, "prompt")
        if not isinstance(example["prompt"], str):
            return plain
        ids: list[int] = tokenizer(text)["input_ids"]
        begin = tokenizer.bos_token_id
        if begin is not None and plain[:1] == [begin] and ids[:2] == [begin, begin]:
            ids = ids[1:]  # the text begins with it
        ends_itself = plain[-1:] == [tokenizer.eos_token_id]
        return ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] and not ends_itself else ids

    def turns(self, example: Example, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> Turns | None:
        """Return the tokens of a chat completion, see `turns_of`; ``None`` if the completion is text or missing.

        Args:
            example: example with chats as prompt and completion.
            tokenizer: tokenizer with the chat template.
            ends: tokens that end a turn.
        """
        prompt, completion = example["prompt"], example.get("completion")
        if isinstance(prompt, str) or not isinstance(completion, list):
            return None
        return turns_of(prompt, completion, tokenizer, self.chat_template_kwargs, ends)

    def length(self, example: Example, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the number of tokens of the longer prompt, with or without privileged text."""
        variants = (False,) if example.get("privileged") is None else (False, True)
        return max(len(self.token_ids(example, tokenizer, privileged)) for privileged in variants)

    def _length_of(self, raw: object, tokenizer: PreTrainedTokenizerBase, where: str, most: int) -> int:
        """Return the :meth:`length` of a dataset's row; errors name the row.

        A prompt that is far longer than ``most`` tokens is not tokenized, since many megabytes of text would take
        minutes; the result is then a lower bound.
        """
        example = check_example(raw, where)
        fewest = _characters(example) // _longest_token(tokenizer)
        if fewest > 4 * most:  # 4: normalization may merge characters before tokens are counted
            return fewest
        try:
            check_no_placeholder(completion_text(example), tokenizer, "completion")
            return self.length(example, tokenizer)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def select(
        self,
        dataset: Dataset[Example] | Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        where: str,
        room: int = sys.maxsize,
    ) -> Dataset[Example] | Sequence[Example]:
        """Return the dataset without prompts longer than ``max_tokens``; the same object if there are none.

        Every prompt is measured, with one exception: if ``overlong`` is ``fail`` and the dataset's attribute
        ``generated`` is true, only :data:`MOST_CHECKED` evenly spaced prompts are, so that training on a million
        problems can start. The log says so, and the other prompts are checked when they are used.

        Args:
            dataset: map-style dataset.
            tokenizer: tokenizer of the prompts.
            where: name of the dataset in errors and in the log.
            room: tokens that the policies' positions leave for a prompt; the limit if it is below ``max_tokens``.

        Raises:
            DataError: if a prompt is too long and ``overlong`` is ``fail``, if all are too long, or if an example is
                invalid.
        """
        size = len(dataset) if isinstance(dataset, Sized) else 0
        sampled = self.overlong == "fail" and getattr(dataset, "generated", False)
        step = -(-size // MOST_CHECKED) if sampled else 1
        checked = range(0, size, step)
        most = min(self.max_tokens, room)
        lengths = {n: self._length_of(dataset[n], tokenizer, f"{where}[{n}]", most) for n in checked}
        limit, remedy = f"max_tokens={self.max_tokens}", "raise max_tokens"
        if room < self.max_tokens:
            limit, remedy = f"the {room} tokens that the policies' positions leave", "lower rollout.max_new_tokens"
        overlong = [n for n, length in lengths.items() if length > most]
        if step > 1:
            log.info("%s: measured every %d-th of %d prompts; the others are checked when used", where, step, size)
        if not overlong:
            return dataset
        found = (
            f"{where}: {len(overlong)} of {len(checked)} prompts are longer than {limit}"
            f" (the longest has {max(lengths.values())}, the first is at index {overlong[0]})"
        )
        if self.overlong == "fail":
            raise DataError(f"{found}; {remedy}, shorten them, or set overlong=drop")
        if len(overlong) == size:
            raise DataError(f"{found}; dropping them would leave nothing")
        log.warning("%s; dropped", found)
        return Subset(dataset, [n for n in checked if lengths[n] <= most])  # type: ignore[arg-type]


def _characters(example: Example) -> int:
    """Return the number of characters of the prompt, without the markup of the chat template."""
    prompt = example["prompt"]
    if isinstance(prompt, str):
        return len(prompt)
    return sum(len(message["content"]) for message in prompt if message["role"] not in ANSWERING_ROLES)


@lru_cache(maxsize=8)
def _longest_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of characters of the longest token."""
    return max(map(len, tokenizer.get_vocab()))


def _fill(template: str, **values: str) -> str:
    """Replace each ``{name}`` by its value in one pass; braces in values and other braces of the template stay."""
    return re.sub(rf"\{{({'|'.join(values)})\}}", lambda name: values[name[1]], template)
