"""Encoders make model input of examples: the one place that knows what a model reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dopd_lightning.data import Example, PromptFormat
from dopd_lightning.errors import DataError
from dopd_lightning.scores.responses import Responses
from dopd_lightning.scores.views import View, view_of


class EncodedPrompt(list[int]):
    """Token ids of a prompt.

    Args:
        ids: the tokens.
        extras: further arguments of the model, by name: those of pictures. None for text.
    """

    def __init__(self, ids: Iterable[int], extras: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(ids)
        self.extras = extras or {}


class Encoder(Protocol):
    """Encodes examples for the models of one family."""

    def prompt(self, example: Example, *, privileged: bool) -> EncodedPrompt:
        """The example's prompt, with privileged text or without.

        Raises:
            DataError: for a prompt that the models cannot read.
        """

    def view(self, prompts: Sequence[EncodedPrompt], responses: Responses) -> View:
        """Input of a policy that reads responses ``(batch, response)``, each behind its prompt."""


class TextEncoder:
    """Encodes text and chats; position ids count real tokens.

    Args:
        prompt_format: writes prompts as text.
        tokenizer: of all policies.
        pad_id: fills up.
        limit: the most tokens of a prompt. Nothing is ever cut, so that every policy sees all of it.
        reason: of the limit, for errors.
    """

    def __init__(
        self, prompt_format: PromptFormat, tokenizer: PreTrainedTokenizerBase, pad_id: int, limit: int, reason: str
    ) -> None:
        self.prompt_format, self.tokenizer, self.pad_id = prompt_format, tokenizer, pad_id
        self.limit, self.reason = limit, reason

    def prompt(self, example: Example, *, privileged: bool) -> EncodedPrompt:
        """See `Encoder.prompt`.

        Raises:
            DataError: if it has no token, or more than the limit.
        """
        ids = self.prompt_format.token_ids(example, self.tokenizer, privileged=privileged)
        if not 0 < len(ids) <= self.limit:
            raise DataError(
                f"a prompt has {len(ids)} tokens ({str(example['prompt'])[:60]!r}…); prompts have at least one and at "
                f"most {self.limit} ({self.reason})"
            )
        return EncodedPrompt(ids)

    def view(self, prompts: Sequence[EncodedPrompt], responses: Responses) -> View:
        """See `Encoder.view`."""
        return view_of(prompts, responses, self.pad_id)
