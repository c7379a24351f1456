"""JSON over HTTP, with patience for what passes and a sentence for what does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dopd_lightning.errors import EngineError, missing_extra

if TYPE_CHECKING:
    import httpx

_WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further try."""


class JSONClient:
    """Talks to one server.

    Connection errors and answers from 500 upwards are tried again, since servers restart and networks drop. A time-out
    is not: what took too long once would again.

    Args:
        client: of httpx, with the address and the time-out.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __call__(self, method: str, path: str, json: Any = None) -> Any:
        """The answer, parsed; ``None`` for an empty one.

        Raises:
            EngineError: naming the address, and what came instead of an answer.
        """
        where = f"engine: {self._client.base_url.join(path)}"
        response = self._answer(method, path, json, where)
        if response.is_error:
            raise EngineError(f"{where} answers {response.status_code}: {response.text[:500].strip()}")
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise EngineError(f"{where} answers with what is no JSON: {response.text[:80]!r}") from error

    def status(self, path: str) -> int:
        """The status that ``GET`` brings."""
        return self._answer("GET", path, None, f"engine: {self._client.base_url.join(path)}").status_code

    def _answer(self, method: str, path: str, json: Any, where: str) -> httpx.Response:
        import httpx

        for wait in (*_WAITS, None):
            try:
                response = self._client.request(method, path, json=json)
                if response.status_code < 500 or wait is None:
                    return response
            except httpx.TimeoutException as error:
                limit = self._client.timeout.read
                raise EngineError(f"{where} did not answer within {limit:g} s; raise engine.timeout") from error
            except httpx.TransportError as error:
                if wait is None:
                    raise EngineError(f"{where} cannot be reached: {error}") from error
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")


@contextmanager
def json_client(url: str, timeout: float) -> Iterator[JSONClient]:
    """A client for as long as the block lasts, for any number of threads.

    Args:
        url: such as ``http://127.0.0.1:8000``.
        timeout: seconds for an answer.
    """
    import httpx

    key = os.environ.get("VLLM_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    with httpx.Client(base_url=url, timeout=timeout, headers=headers, limits=unlimited) as client:
        yield JSONClient(client)


def check_httpx() -> None:
    """Say before anything else that the library is missing.

    Raises:
        ConfigError: naming the extra.
    """
    if find_spec("httpx") is None:
        raise missing_extra("engine: a server needs httpx", "vllm-server")
