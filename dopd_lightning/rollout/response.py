"""Response of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Response(NamedTuple):
    """Tokens of a response.

    Attributes:
        ids: the tokens, an end-of-sequence token included.
        own: mask of the tokens that the student wrote, or could have written; all of them if None. Others, such as a
            tool's output, are read and not learned.
        logps: log-probability of each token under the policy that wrote it, in nats, if known.
    """

    ids: list[int]
    own: list[bool] | None = None
    logps: list[float] | None = None


def as_responses(written: Sequence[Response | Sequence[int]]) -> list[Response]:
    """Turn a rollout's return value, which may hold lists of token ids, into responses.

    Example:
        >>> as_responses([[5, 6], Response([7])])
        [Response(ids=[5, 6], own=None, logps=None), Response(ids=[7], own=None, logps=None)]
    """
    return [each if isinstance(each, Response) else Response(list(each)) for each in written]
