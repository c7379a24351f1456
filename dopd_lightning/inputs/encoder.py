"""Encoders, which turn examples into model input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dopd_lightning.data import Example, PromptFormat
from dopd_lightning.errors import DataError
from dopd_lightning.inputs.response_mask import Responses
from dopd_lightning.inputs.views import View, view_of


class EncodedPrompt(list[int]):
    """Token ids of a prompt.

    Args:
        ids: the tokens.
        extras: further arguments of the model by name, for pictures; none for text.
    """

    def __init__(self, ids: Iterable[int], extras: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(ids)
        self.extras = extras or {}


class Encoder(Protocol):
    """Encoder of examples for the models of one family."""

    def prompt(self, example: Example, *, privileged: bool) -> EncodedPrompt:
        """Return the example's prompt, with privileged text or without.

        Raises:
            DataError: for a prompt that the models cannot read, such as one that is too long.
        """

    def view(self, prompts: Sequence[EncodedPrompt], responses: Responses) -> View:
        """Return the input of a policy: responses ``(batch, response)``, each after its prompt."""


class TextEncoder:
    """Encode text and chats; position ids count real tokens.

    Args:
        prompt_format: renders prompts as text.
        tokenizer: of all policies.
        pad_id: padding token.
        limit: largest number of tokens of a prompt. Prompts are never cut.
        reason: origin of the limit, for errors.
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
