"""Chat replies in the answers of a server, or the reasons why there is none."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dopd_lightning.hints.writer import Reply, Tokens, said
from dopd_lightning.io.http import in_one_line

if TYPE_CHECKING:
    from dopd_lightning.io.http import Answer

_PASSES = (408, 409, 425, 429)
_DENIED = (401, 403, 404)
_CUT_OFF = {
    "length": "the reply was cut off by the length limit; raise max_tokens",
    "content_filter": "the server's content filter blocked the reply",
    "tool_calls": "the model called a tool instead of replying",
}


class Unusable(Exception):
    """A server's answer without a usable reply.

    Attributes:
        passes: whether another attempt may succeed.
        retry_after: seconds to wait before another attempt, if the server says so.
        tokens: tokens that the answer used nevertheless.
    """

    def __init__(
        self, sentence: str, *, passes: bool = True, retry_after: float | None = None, tokens: Tokens | None = None
    ) -> None:
        super().__init__(sentence)
        self.passes, self.retry_after, self.tokens = passes, retry_after, tokens or Tokens()


class Denied(Exception):
    """A server's denial of access or of the model, which would be the same for every row."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status)
        self.status, self.text = status, text


def reply_in(response: Answer, secret: str | None = None) -> Reply:
    """Return the reply in an answer of ``/v1/chat/completions``.

    Args:
        response: answer of the server.
        secret: text to replace by ``***``; servers may repeat a key that they refuse.

    Raises:
        Unusable: if there is no usable reply.
        Denied: for the status 401, 403 and 404.
    """
    status = response.status
    if status in _DENIED:
        raise Denied(status, short(response.text, secret))
    if status != 200:
        raise Unusable(
            f"the server answers {status}: {short(response.text, secret)}",
            passes=status in _PASSES or status >= 500,
            retry_after=_retry_after(response.headers.get("Retry-After")),
        )
    try:
        answer = response.json()
    except ValueError:
        raise Unusable(f"the answer is not JSON: {short(response.text, secret)!r}") from None
    tokens = _tokens(answer)
    try:
        choice = answer["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise Unusable(
            f"the answer is not a chat completion: {type(error).__name__} {error} in {short(str(answer), secret)}",
            tokens=tokens,
        ) from None
    reason = choice.get("finish_reason")
    if reason in _CUT_OFF:
        raise Unusable(_CUT_OFF[reason], tokens=tokens)
    if not isinstance(content, str) or not said(content):
        raise Unusable("the reply is empty", tokens=tokens)
    return Reply(_without(secret, said(content)), tokens)


def _tokens(answer: Any) -> Tokens:
    """Return the token counts that the server reports; invalid counts are 0."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    counts = [usage.get(f"{name}_tokens") if isinstance(usage, dict) else None for name in Tokens._fields]
    return Tokens(*(count if type(count) is int and count >= 0 else 0 for count in counts))


def _retry_after(header: str | None) -> float | None:
    """Return the seconds to wait by a ``Retry-After`` header, which has a number of seconds or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds == seconds else None


def short(text: str, secret: str | None = None) -> str:
    """Shorten a text to one line of at most 300 characters, without the secret."""
    return in_one_line(_without(secret, text))


def _without(secret: str | None, text: str) -> str:
    return text.replace(secret, "***") if secret else text
