"""Errors that users can act on. Each message names the place, the value found and what would be right."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from numbers import Real
from typing import TypeVar

Choice = TypeVar("Choice", bound=str)


class ConfigError(ValueError):
    """An invalid setting. The message names the setting, the value found and what would be right."""


class DataError(ValueError):
    """Invalid data. The message names the file, the line (or row) and what would be right."""


class EngineError(RuntimeError):
    """A failure of a rollout engine or a chat model during a run. The message names it, the failure and a remedy."""


class WriteError(OSError):
    """A failed write. The message names the file, the reason and a remedy."""


def missing_extra(needs: str, extra: str, instead: str = "") -> ConfigError:
    """Return the error for an optional package that is not installed, with the command that installs it.

    Args:
        needs: the setting and the package that it needs, such as ``"student: adapters need peft"``.
        extra: the name of the extra in ``pyproject.toml``.
        instead: a setting that works without the package, such as ``"or language=any"``.

    Example:
        >>> str(missing_extra("student: adapters need peft", "lora"))[:52]
        'student: adapters need peft, which is not installed;'
    """
    command = f"pip install '.[{extra}]' in a checkout of dopd-lightning installs it"
    return ConfigError(f"{needs}, which is not installed; {', '.join(filter(None, (command, instead)))}")


def check_choice(setting: str, value: Choice, choices: Collection[str]) -> Choice:
    """Return ``value`` if it is among ``choices``.

    Raises:
        ConfigError: otherwise, listing the choices.

    Example:
        >>> check_choice("reduction", "token", ("rollout", "token"))
        'token'
    """
    if value not in choices:
        raise ConfigError(f"{setting}: {value!r} is not one of {', '.join(sorted(choices))}")
    return value


def check_range(
    setting: str,
    value: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return ``value`` if it is a finite number in the range.

    Raises:
        ConfigError: otherwise, stating the range.

    Example:
        >>> check_range("top_p", 1.5, above=0, at_most=1)
        Traceback (most recent call last):
            ...
        dopd_lightning.errors.ConfigError: top_p: 1.5 must be above 0 and at most 1
    """
    bounds = [
        (words, holds, bound)
        for words, holds, bound in (
            ("at least", operator.ge, at_least),
            ("above", operator.gt, above),
            ("at most", operator.le, at_most),
            ("below", operator.lt, below),
        )
        if bound is not None
    ]
    number = isinstance(value, Real) and not isinstance(value, bool) and abs(value) < math.inf
    if not number or not all(holds(value, bound) for _, holds, bound in bounds):
        right = [*([] if number else ["a finite number"]), *(f"{words} {bound}" for words, _, bound in bounds)]
        raise ConfigError(f"{setting}: {value!r} must be {' and '.join(right)}")
    return value
