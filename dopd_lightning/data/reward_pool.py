"""Reward functions in worker processes, with a time limit."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from typing import Any

from pebble import ProcessExpired, ProcessPool

from dopd_lightning.data.example import Example
from dopd_lightning.data.rewards import OfEach, RewardFunction, checked_rewards
from dopd_lightning.data.verifiers import exact, numeric
from dopd_lightning.errors import ConfigError

_IN_PLACE = (OfEach(exact), OfEach(numeric))  # they take microseconds and cannot hang
_START = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


@dataclass(frozen=True)
class Rewarded:
    """Rewards of one function for a batch of responses.

    Attributes:
        rewards: one for each response; NaN if the function returned None or failed.
        failures: reasons, one sentence for each response on which the function failed.
    """

    rewards: list[float]
    failures: list[str]


class RewardPool:
    """Pool of worker processes that compute rewards in parallel with other work.

    Args:
        functions: reward functions by name.
        processes: number of worker processes; 0 computes in this process, without a time limit.
        timeout: seconds for one response. A function that takes longer is stopped.

    Raises:
        ConfigError: if a function cannot be pickled, on systems without ``fork``.
    """

    def __init__(self, functions: Mapping[str, RewardFunction], processes: int, timeout: float) -> None:
        self.functions, self.processes, self.timeout = dict(functions), processes, timeout
        if processes and _START != "fork":
            for name, function in functions.items():
                _check_sendable(name, function)
        self._pool: ProcessPool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_pool": None}  # a copy in another process starts its own pool

    def submit(self, responses: Sequence[str], examples: Sequence[Example]) -> Pending:
        """Start computing the rewards of responses."""
        tasks: dict[str, list[tuple[list[int], Any]]] = {}
        for name, function in self.functions.items():
            rows = [[row] for row in range(len(responses))]
            if not isinstance(function, OfEach) and rows:
                rows = [[*range(len(responses))]]  # it takes a whole batch
            tasks[name] = [
                (each, self._task(name, [responses[n] for n in each], [examples[n] for n in each])) for each in rows
            ]
        return Pending(self, tasks, len(responses))

    def _task(self, name: str, responses: list[str], examples: list[Example]) -> Any:
        if not self.processes or self.functions[name] in _IN_PLACE:
            return lambda: checked_rewards(self.functions[name](responses, examples), len(responses))
        if self._pool is None:
            self._pool = ProcessPool(
                self.processes,
                initializer=_hold,
                initargs=(self.functions,),
                context=multiprocessing.get_context(_START),
            )
            weakref.finalize(self, _close, self._pool)
        limit = self.timeout * len(responses)
        return self._pool.schedule(_reward, args=(name, responses, examples), timeout=limit)


class Pending:
    """Rewards that are being computed."""

    def __init__(self, pool: RewardPool, tasks: Mapping[str, Sequence[tuple[list[int], Any]]], count: int) -> None:
        self._pool, self._tasks, self._count = pool, tasks, count  # the reference keeps the pool alive

    def result(self) -> dict[str, Rewarded]:
        """Wait for the rewards and return them by name of the function."""
        found = {}
        for name, tasks in self._tasks.items():
            rewards, failures = [math.nan] * self._count, []
            for rows, task in tasks:
                try:
                    values = task.result() if isinstance(task, Future) else task()
                except Exception as error:  # a user's function can raise anything
                    failures += [self._sentence(error)] * len(rows)
                    continue
                for row, value in zip(rows, values, strict=True):
                    rewards[row] = value
            found[name] = Rewarded(rewards, failures)
        return found

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"it took longer than {self._pool.timeout:g} s for a response, and was stopped"
        if isinstance(error, ProcessExpired):
            return f"its process ended ({error})"
        return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _check_sendable(name: str, function: RewardFunction) -> None:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{name}: it cannot be sent to a worker process ({error}); define it in a module, or set processes=0"
        ) from error


_functions: Mapping[str, RewardFunction] = {}


def _hold(functions: Mapping[str, RewardFunction]) -> None:
    global _functions
    _functions = functions


def _reward(name: str, responses: list[str], examples: list[Example]) -> list[float]:
    return checked_rewards(_functions[name](responses, examples), len(responses))


def _close(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
