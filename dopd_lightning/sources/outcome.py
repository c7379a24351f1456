"""Verified outcomes of responses, as a source of rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args
from warnings import warn

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dopd_lightning.data.reward_pool import Pending, RewardPool
from dopd_lightning.data.rewards import reward_function, weights_of
from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.sources.source import RewardSource, ScoringRequest

Truncated: TypeAlias = Literal["score", "wrong", "unknown"]


class Outcome(RewardSource):
    """Source of rewards from verifiers, or from reward functions with TRL's signature.

    They run in separate processes, in parallel with the forward passes of the same step. If a verifier fails on a
    response or takes too long, its reward for that response is unknown, with a warning. If verifiers failed and a batch
    has no known reward, the run ends with an error.

    Args:
        verifier: name of a verifier (``exact``, ``numeric``, ``reasoning_gym``, ``math_verify``), a callable
            ``(response, example) -> float | None``, a callable of TRL's signature (``completions``, ``prompts``,
            columns as keywords; a list of floats or None), or several of these by name.
        weights: weight of each verifier by name; 1 if not given. The reward is the weighted sum of the known values.
        truncated: treatment of a response that was cut at the length limit: ``score`` (like any other), ``wrong`` (the
            reward is 0) or ``unknown``.
        processes: number of processes for verifiers; 0 for the training process itself, without a time limit.
        timeout: time limit for one response, in seconds.

    Raises:
        ConfigError: for an unknown verifier, weights with other names, or a value out of range.

    Example:
        >>> verifiers = {"right": "numeric", "short": lambda response, example: -len(response)}
        >>> Outcome(verifiers, weights={"right": 1, "short": 0.01}).weights
        {'right': 1, 'short': 0.01}
    """

    def __init__(
        self,
        verifier: str | Callable[..., Any] | Mapping[str, str | Callable[..., Any]] = "exact",
        weights: Mapping[str, float] | None = None,
        *,
        truncated: Truncated = "score",
        processes: int = 1,
        timeout: float = 10.0,
    ) -> None:
        super().__init__()
        given = verifier if isinstance(verifier, Mapping) else {"verifier": verifier}
        if not given:
            raise ConfigError("verifier: none is given; name at least one")
        functions = {str(name): reward_function(each) for name, each in given.items()}
        self.weights = weights_of(functions, weights)
        self.truncated = check_choice("truncated", truncated, get_args(Truncated))
        check_range("processes", processes, at_least=0)
        check_range("timeout", timeout, above=0)
        self._pool = RewardPool(functions, processes, timeout)
        self._pending: Pending | None = None
        self._warned: set[str] = set()

    def begin(self, request: ScoringRequest) -> None:
        texts = request.rollouts.texts
        assert texts is not None, "decoded by Step"
        self._pending = self._pool.submit(texts, request.rollouts.examples)

    def rewards(self, student: PreTrainedModel, request: ScoringRequest) -> Tensor:
        if self._pending is None:
            self.begin(request)
        assert self._pending is not None
        found, self._pending = self._pending.result(), None
        failures = [f"{name}: {each}" for name, rewarded in found.items() for each in rewarded.failures]
        known = any(not math.isnan(value) for rewarded in found.values() for value in rewarded.rewards)
        if failures and not known:
            raise ConfigError(f"verifier: it failed on every response of a batch: {failures[0]}")
        self._warn(failures)
        device = request.rollouts.ended.device
        columns = {name: torch.tensor(rewarded.rewards, device=device) for name, rewarded in found.items()}
        total = _weighted_sum([(column, self.weights[name]) for name, column in columns.items()])
        if self.truncated != "score":
            cut = ~request.rollouts.ended & request.rollouts.responses.mask.any(-1)
            total = torch.where(cut, 0.0 if self.truncated == "wrong" else math.nan, total)
        return total

    def _warn(self, failures: Sequence[str]) -> None:
        for failure in dict.fromkeys(failures):
            if failure not in self._warned and len(self._warned) < 10:
                self._warned.add(failure)
                warn(f"a reward is unknown, since a verifier failed: {failure}", stacklevel=2)


def _weighted_sum(columns: Sequence[tuple[Tensor, float]]) -> Tensor:
    """Return the weighted sum of the known values; NaN where none is known."""
    known = torch.stack([~column.isnan() for column, _ in columns]).any(0)
    total = torch.stack([weight * column.nan_to_num(nan=0.0) for column, weight in columns]).sum(0)
    return torch.where(known, total, math.nan)
