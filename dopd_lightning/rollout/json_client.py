"""JSON over HTTP, with patience for what passes and a sentence for what does not."""

from __future__ import annotations

import asyncio
import json as json_format
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dopd_lightning.errors import EngineError, missing_extra
from dopd_lightning.io.http import LARGEST, Answer, AnswerTooLarge, in_one_line, read_answer

if TYPE_CHECKING:
    import httpx
    from anyio.from_thread import BlockingPortal

_WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further try."""
_IN_FLIGHT = 256
"""Requests at a time; a server batches what it has."""


class JSONClient:
    """Talks to one server.

    Connection errors and answers from 500 upwards are tried again, since servers restart and networks drop. The
    deadline is of all tries together: what took too long once would again.

    Args:
        client: of httpx, with the address, and without a time-out of its own.
        loop: where requests are under way.
        timeout: seconds from a question to the last byte of its answer.
    """

    def __init__(self, client: httpx.AsyncClient, loop: BlockingPortal, timeout: float) -> None:
        self._client, self._loop, self._timeout = client, loop, timeout

    def __call__(self, method: str, path: str, json: Any = None) -> Any:
        """The answer, parsed; ``None`` for an empty one.

        Raises:
            EngineError: naming the address, and what came instead of an answer.
        """
        return self._loop.call(self._parsed, method, path, json, LARGEST)

    def all(self, method: str, path: str, bodies: Sequence[Any], *, largest: int) -> list[Any]:
        """The answers to several questions asked side by side, in order; the first that fails ends the others.

        Args:
            largest: bytes of an answer.

        Raises:
            EngineError: as for one.
        """
        return self._loop.call(self._all, method, path, bodies, largest)

    def status(self, path: str) -> int:
        """The status that ``GET`` brings."""
        answer: Answer = self._loop.call(self._answer, "GET", path, None, LARGEST)
        return answer.status

    async def _all(self, method: str, path: str, bodies: Sequence[Any], largest: int) -> list[Any]:
        slots = asyncio.Semaphore(_IN_FLIGHT)

        async def one(body: Any) -> Any:
            async with slots:
                return await self._parsed(method, path, body, largest)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(body)) for body in bodies]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _parsed(self, method: str, path: str, json: Any, largest: int) -> Any:
        where, answer = self._where(path), await self._answer(method, path, json, largest)
        if 300 <= answer.status < 400:
            raise EngineError(
                f"{where} answers {answer.status}, and that it has moved to {answer.headers.get('Location')}; give the "
                "address that it has now"
            )
        if answer.status >= 400:
            raise EngineError(f"{where} answers {answer.status}: {in_one_line(answer.text)}")
        try:
            return answer.json() if answer.body else None
        except ValueError as error:
            raise EngineError(f"{where} answers with what is no JSON: {in_one_line(answer.text, 80)!r}") from error

    async def _answer(self, method: str, path: str, json: Any, largest: int) -> Answer:
        import httpx

        where, failure = self._where(path), ""
        content = None if json is None else json_format.dumps(json).encode()
        try:
            async with asyncio.timeout(self._timeout):
                for wait in (*_WAITS, None):
                    try:
                        answer = await read_answer(self._client, method, path, content=content, largest=largest)
                        if answer.status < 500 or wait is None:
                            return answer
                        failure = f" (its last answer was {answer.status}: {in_one_line(answer.text, 80)})"
                    except httpx.RequestError as error:
                        failure = f" (the last try failed: {error or type(error).__name__})"
                        if wait is None:
                            raise EngineError(f"{where} cannot be reached: {error or type(error).__name__}") from error
                    await asyncio.sleep(wait)
        except TimeoutError:
            raise EngineError(
                f"{where} did not answer within {self._timeout:g} s{failure}; raise engine.timeout"
            ) from None
        except AnswerTooLarge as error:
            raise EngineError(f"{where}: {error}, and none that was asked for can be; is it a vLLM server?") from None
        raise AssertionError("the last try returns or raises")

    def _where(self, path: str) -> str:
        return f"engine: {self._client.base_url.join(path)}"


@contextmanager
def json_client(url: str, timeout: float) -> Iterator[JSONClient]:
    """A client for as long as the block lasts, for any number of threads; what is under way ends with the block.

    Args:
        url: such as ``http://127.0.0.1:8000``.
        timeout: seconds for an answer.
    """
    import httpx
    from anyio.from_thread import start_blocking_portal

    key = os.environ.get("VLLM_API_KEY")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    # In a thread of its own, since the caller may be in an event loop already, as notebooks are.
    with start_blocking_portal() as loop:
        client = httpx.AsyncClient(base_url=url, timeout=None, headers=headers, limits=unlimited)
        with loop.wrap_async_context_manager(client):
            yield JSONClient(client, loop, timeout)


def check_httpx() -> None:
    """Say before anything else that the library is missing.

    Raises:
        ConfigError: naming the extra.
    """
    if find_spec("httpx") is None:
        raise missing_extra("engine: a server needs httpx", "vllm-server")
