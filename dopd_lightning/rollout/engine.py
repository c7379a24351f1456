"""Interface of engines, which write responses: transformers' generation, vLLM, and others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from transformers import PreTrainedModel

from dopd_lightning.errors import check_range


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling settings.

    Args:
        max_new_tokens: length limit of a response, the end-of-sequence token included.
        temperature: of the samples; 0 writes the likeliest token each time (greedy). The loss never uses it.
        top_p: sample from the smallest set of tokens with this much probability; 1 is all.
        top_k: sample from this many likeliest tokens; 0 is all.

    Raises:
        ConfigError: for a value out of range.

    Example:
        >>> Sampling(max_new_tokens=64, temperature=0.7, top_p=0.9).top_k
        0
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        check_range("max_new_tokens", self.max_new_tokens, at_least=1)
        check_range("temperature", self.temperature, at_least=0)
        check_range("top_p", self.top_p, above=0, at_most=1)
        check_range("top_k", self.top_k, at_least=0)


class Written(NamedTuple):
    """Responses of an engine.

    Attributes:
        ids: tokens of each response, up to and including the first end-of-sequence token, or ``max_new_tokens`` of
            them without. Responses to one prompt are next to each other.
        logps: log-probability of each of these tokens in nats, or ``None`` where not asked for. They are the policy's
            own: at temperature 1, before top-p and top-k, over all of its outputs, a vocabulary's padding included.
    """

    ids: list[list[int]]
    logps: list[list[float]] | None


class Engine(Protocol):
    """Engine that writes the student's responses.

    Attributes:
        positions: the most tokens that a prompt and its response may have together, where the engine has a limit of
            its own. Asking for it is also how an engine is found unfit before models load (``ConfigError``).
    """

    @property
    def positions(self) -> int | None: ...

    def synchronise(self, policy: PreTrainedModel) -> None:
        """Have the policy's present weights in place before the next response.

        Under several processes all call it at the same time, with the policy in eval mode.

        Raises:
            ConfigError: for a policy that the engine cannot hold.
            EngineError: if the weights do not arrive.
        """

    def generate(
        self,
        policy: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        eos_ids: Sequence[int],
        pad_id: int,
        vocabulary_size: int,
        samples_per_prompt: int = 1,
        logps: bool = False,
    ) -> Written:
        """Sample responses. What is random is drawn from torch's global generator, or seeded by it.

        Args:
            policy: writes, in eval mode; an engine with weights of its own writes with those last synchronised.
            prompts: token ids, one list a prompt.
            sampling: see :class:`Sampling`.
            eos_ids: tokens that end a response; what else the engine takes for an end does not.
            pad_id: fills up; it may be one of ``eos_ids``.
            vocabulary_size: number of real tokens; the padding of a padded vocabulary is never written.
            samples_per_prompt: responses to each prompt.
            logps: whether to return log-probabilities.

        Raises:
            EngineError: if the engine does not answer, or answers something else than asked for.
        """


def up_to_end(tokens: list[int], eos_ids: Collection[int]) -> list[int]:
    """Cut behind the first end-of-sequence token: what follows is padding, even where padding is that same token."""
    for count, token in enumerate(tokens, start=1):
        if token in eos_ids:
            return tokens[:count]
    return tokens
