"""HTTP responses that are read to the end, up to a size limit and within a deadline.

They are called answers here: a response is the text of a policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import httpx

LARGEST = 16 * 2**20
"""Default limit on the size of an answer, in bytes."""


class AnswerTooLarge(Exception):
    """A server's answer is larger than the limit."""


class Answer(NamedTuple):
    """A server's complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """Body, decoded as UTF-8."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Parse the body.

        Raises:
            ValueError: if it is not JSON.
        """
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


async def read_answer(
    client: httpx.AsyncClient, method: str, path: str, *, content: bytes | None = None, largest: int = LARGEST
) -> Answer:
    """Send a request and read the whole answer.

    The caller sets the deadline with ``asyncio.timeout``. httpx's own timeouts limit only the time between two
    pieces of the answer, and a server that sends a byte now and then never exceeds them.

    Raises:
        AnswerTooLarge: if the body has more than ``largest`` bytes.
        httpx.RequestError: if the server cannot be reached, or the connection fails.
    """
    body = bytearray()
    async with client.stream(method, path, content=content) as response:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > largest:
                raise AnswerTooLarge(f"the answer is larger than {largest:,} bytes")
    return Answer(response.status_code, response.headers, bytes(body))


def in_one_line(text: str, limit: int = 300) -> str:
    """Shorten a text, such as an HTML page, to one line of at most ``limit`` characters (plus ``…`` if it is cut).

    Example:
        >>> in_one_line("<h1>\\n  Not found</h1>", limit=9)
        '<h1> Not …'
    """
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}…"
