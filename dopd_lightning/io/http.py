"""HTTP answers that end: read within a deadline, from the connection to the last byte, and up to a size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import httpx

LARGEST = 16 * 2**20
"""Bytes of an answer, where nothing is known of it."""


class AnswerTooLarge(Exception):
    """A server sent more than was to be read."""


class Answer(NamedTuple):
    """A server's whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body, read as UTF-8."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Parse the body.

        Raises:
            ValueError: if it is no JSON.
        """
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


async def read_answer(
    client: httpx.AsyncClient, method: str, path: str, *, content: bytes | None = None, largest: int = LARGEST
) -> Answer:
    """Send a request and read the answer to its end.

    The caller sets the deadline with ``asyncio.timeout``: httpx's own limits are on silences, and a server that sends
    a byte now and then never falls silent.

    Raises:
        AnswerTooLarge: once the body has more bytes than ``largest``.
        httpx.RequestError: if the server cannot be reached, or the connection fails.
    """
    body = bytearray()
    async with client.stream(method, path, content=content) as response:
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > largest:
                raise AnswerTooLarge(f"the answer is above {largest:,} bytes")
    return Answer(response.status_code, response.headers, bytes(body))


def in_one_line(text: str, limit: int = 300) -> str:
    """Shorten a text, such as a page of HTML, to one line of at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}…"
