"""Responses from the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from dopd_lightning.errors import DataError, check_range
from dopd_lightning.rollout.engine import Sampling, up_to_end
from dopd_lightning.rollout.interface import RolloutRequest
from dopd_lightning.rollout.response import Response


@dataclass(frozen=True, kw_only=True)
class DatasetRollout:
    """Static completions from the data: off-policy distillation, and supervised fine-tuning with fusion rule ``data``.

    A completion ends at the first end-of-sequence token that its text spells, or else gets one: of a chat, the token
    that the chat template writes behind an assistant's message. One longer than ``max_new_tokens`` is cut there and
    then has no end-of-sequence token, as a rollout would.

    Example:
        >>> DatasetRollout(max_new_tokens=64).writers
        frozenset()
    """

    max_new_tokens: int = Sampling.max_new_tokens
    samples_per_prompt: int = field(default=1, init=False)
    writers: frozenset[str] = field(default=frozenset(), init=False)
    student_writes: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_range("rollout.max_new_tokens", self.max_new_tokens, at_least=1)

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_new_tokens=self.max_new_tokens)

    def __call__(self, request: RolloutRequest) -> list[list[int] | Response]:
        responses: list[list[int] | Response] = []
        for number, (completion, end) in enumerate(zip(request.completions, request.completion_ends, strict=True)):
            if completion is None:
                raise DataError(
                    f"example {number} of the batch has no `completion`, which this rollout takes its responses from; "
                    "add one to the data or choose rollout=student"
                )
            if isinstance(completion, Response):
                assert completion.own is not None
                limit = self.max_new_tokens
                responses.append(Response(completion.ids[:limit], completion.own[:limit]))
                continue
            tokens = request.tokenizer.encode(completion, add_special_tokens=False)
            responses.append(up_to_end([*tokens, end], request.eos_ids)[: self.max_new_tokens])
        return responses
