"""Reply to a chat request, read from a server's answer, or the reason why it cannot be."""

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
    "content_filter": "the server's filter held the reply back",
    "tool_calls": "the model called a tool instead of replying",
}


class Unusable(Exception):
    """An answer without a reply in it.

    Attributes:
        passes: whether another try may bring one.
        retry_after: seconds after which the server wants to be asked again, if it says.
        tokens: that were used all the same.
    """

    def __init__(
        self, sentence: str, *, passes: bool = True, retry_after: float | None = None, tokens: Tokens | None = None
    ) -> None:
        super().__init__(sentence)
        self.passes, self.retry_after, self.tokens = passes, retry_after, tokens or Tokens()


class Denied(Exception):
    """No access, or no such model: so it would be for every row."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status)
        self.status, self.text = status, text


def reply_in(response: Answer, secret: str | None = None) -> Reply:
    """The reply in an answer of ``/v1/chat/completions``.

    Args:
        response: as it came.
        secret: what is not to be passed on, although servers may repeat what they refuse.

    Raises:
        Unusable: if there is none.
        Denied: for 401, 403 and 404.
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
        raise Unusable(f"the answer is no JSON: {short(response.text, secret)!r}") from None
    tokens = _tokens(answer)
    try:
        choice = answer["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise Unusable(
            f"the answer is none to a chat: {type(error).__name__} {error} in {short(str(answer), secret)}",
            tokens=tokens,
        ) from None
    reason = choice.get("finish_reason")
    if reason in _CUT_OFF:
        raise Unusable(_CUT_OFF[reason], tokens=tokens)
    if not isinstance(content, str) or not said(content):
        raise Unusable("the reply is empty", tokens=tokens)
    return Reply(_without(secret, said(content)), tokens)


def _tokens(answer: Any) -> Tokens:
    """Return the token counts that the server reports; malformed ones are not counted."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    counts = [usage.get(f"{name}_tokens") if isinstance(usage, dict) else None for name in Tokens._fields]
    return Tokens(*(count if type(count) is int and count >= 0 else 0 for count in counts))


def _retry_after(header: str | None) -> float | None:
    """Seconds from now: the header has a number of them, or a date."""
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
    """One line of at most 300 characters, without the secret."""
    return in_one_line(_without(secret, text))


def _without(secret: str | None, text: str) -> str:
    return text.replace(secret, "***") if secret else text
