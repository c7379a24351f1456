"""Reward functions for batches, from verifiers of single responses or functions with TRL's signature."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dopd_lightning.data.example import Example
from dopd_lightning.data.verifiers import get_verifier
from dopd_lightning.errors import ConfigError

RewardFunction = Callable[[Sequence[str], Sequence[Example]], Sequence[float | None]]
"""``(responses, examples)`` -> one reward for each response, or None where unknown."""


@dataclass(frozen=True)
class OfEach:
    """Reward function that calls a verifier, ``(response, example) -> float | None``, on each response of a batch.

    Example:
        >>> OfEach(lambda response, example: len(response))(["a", "bcd"], [{"prompt": ""}, {"prompt": ""}])
        [1, 3]
    """

    verifier: Callable[[str, Example], float | None]

    def __call__(self, responses: Sequence[str], examples: Sequence[Example]) -> list[float | None]:
        return [self.verifier(response, example) for response, example in zip(responses, examples, strict=True)]


@dataclass(frozen=True)
class OfTRL:
    """Reward function that calls a function with TRL's keywords: ``prompts``, ``completions`` and columns.

    If the prompt is a chat, its completion is a list with one assistant message, as in TRL.

    Example:
        >>> def longer_than(prompts, completions, limit, **columns):
        ...     return [float(len(text) > n) for text, n in zip(completions, limit)]
        >>> OfTRL(longer_than)(["abc", "a"], [{"prompt": "", "limit": 2}, {"prompt": "", "limit": 2}])
        [1.0, 0.0]
    """

    function: Callable[..., Sequence[float | None]]

    def __call__(self, responses: Sequence[str], examples: Sequence[Example]) -> Sequence[float | None]:
        names = dict.fromkeys(name for example in examples for name in example if name not in ("prompt", "completion"))
        columns = {name: [example.get(name) for example in examples] for name in names}
        completions: list[Any] = [
            response if isinstance(example["prompt"], str) else [{"role": "assistant", "content": response}]
            for response, example in zip(responses, examples, strict=True)
        ]
        return self.function(prompts=[example["prompt"] for example in examples], completions=completions, **columns)


def reward_function(given: str | Callable[..., Any]) -> RewardFunction:
    """Return a reward function for the name of a verifier, a verifier, or a function with TRL's signature.

    A callable with a parameter ``completions`` has TRL's signature.

    Raises:
        ConfigError: for an unknown name, or an object that is not callable.
    """
    function: Callable[..., Any] = get_verifier(given)
    try:
        names = [*inspect.signature(function).parameters]
    except (TypeError, ValueError):  # some built-in callables have no signature
        names = []
    return OfTRL(function) if "completions" in names else OfEach(function)


def checked_rewards(found: Any, count: int) -> list[float]:
    """Return rewards as floats, NaN where unknown.

    Raises:
        ConfigError: if there are more or fewer than ``count``, or one is neither a finite number nor None.
    """
    if isinstance(found, str) or not hasattr(found, "__len__") or len(found) != count:
        raise ConfigError(f"it returned {found!r}, and must return {count} values: a number or None for each response")
    rewards = []
    for value in found:
        try:
            number = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"it returned {value!r} for a response, and must return a number or None") from None
        if math.isinf(number):
            raise ConfigError(f"it returned {number} for a response, and must return a finite number or None")
        rewards.append(number)
    return rewards


def weights_of(functions: Mapping[str, Any], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return the weight of each function; 1 for each if ``weights`` is None.

    Raises:
        ConfigError: if the names are not those of the functions, or a weight is not a finite number.
    """
    found = dict.fromkeys(functions, 1.0) if weights is None else {**weights}
    if found.keys() != {*functions}:
        raise ConfigError(
            f"weights: given for {', '.join(sorted(map(str, found)))}, but the verifiers are "
            f"{', '.join(sorted(functions))}; give one weight for each"
        )
    for name, weight in found.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ConfigError(f"weights.{name}: {weight!r} must be a finite number")
    return found
