"""One response, as a rollout gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Response(NamedTuple):
    """Tokens of a response.

    Attributes:
        ids: the tokens, an end-of-sequence token included.
        own: which of them the student wrote, or might have written; all of them if None. Others, such as a tool's
            output, are read and not learned.
        logps: log-probability of each token under whoever wrote it, in nats, where that is known.
    """

    ids: list[int]
    own: list[bool] | None = None
    logps: list[float] | None = None


def as_responses(written: Sequence[Response | Sequence[int]]) -> list[Response]:
    """Responses from what a rollout returned, which may be lists of token ids."""
    return [each if isinstance(each, Response) else Response(list(each)) for each in written]
