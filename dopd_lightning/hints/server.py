"""Hints from a server with OpenAI's API, by httpx: vLLM, SGLang, llama.cpp, OpenAI and most others."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dopd_lightning.errors import ConfigError, check_range, missing_extra
from dopd_lightning.hints.answers import Denied, Unusable, reply_in, short
from dopd_lightning.hints.writer import Failure, Replies, Reply, Tokens, Write
from dopd_lightning.io.http import Answer, AnswerTooLarge, read_answer

if TYPE_CHECKING:
    import httpx

_CHAT, _MODELS = "chat/completions", "models"


@dataclass(kw_only=True)
class ServerWriter:
    """Chat model behind ``/v1/chat/completions``.

    A request is repeated after a time-out, a dropped connection, the status 408, 409, 425, 429 or 500 and above, or an
    unusable answer (not JSON, without the expected fields, empty, cut off by the length limit). Waits grow, unless the
    server sends ``Retry-After``. The status 401, 403 or 404 ends the run.

    Args:
        url: address of the server, up to and including ``/v1``.
        model: name of the model on the server; ``None`` if the server has only one.
        api_key_env: environment variable with the API key, if the server needs one. The key is never written or logged.
        max_tokens: limit on the tokens of a reply; ``None`` for the server's default.
        temperature: sampling temperature; ``None`` for the server's default.
        options: further fields of each request, such as ``{"top_p": 0.9}`` or vLLM's ``chat_template_kwargs``.
        concurrency: number of simultaneous requests.
        timeout: seconds for one answer, from the connection to its last byte.
        retries: number of attempts after the first one.
        first_wait: seconds before the second attempt; each later wait is twice as long.
        longest_wait: limit on each wait in seconds, including one by ``Retry-After``.

    Raises:
        ConfigError: for invalid settings, or if the key or httpx is missing.

    Example (it needs a server)::

        with ServerWriter(url="http://127.0.0.1:8000/v1", temperature=0).open() as write:
            for index, reply in write(["What is 12 + 34 - 5?"]):
                print(index, reply)
    """

    url: str = "http://127.0.0.1:8000/v1"
    model: str | None = None
    api_key_env: str | None = None
    max_tokens: int | None = 1024
    temperature: float | None = 0.7
    options: Mapping[str, Any] | None = None
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("retries", 0), ("first_wait", 0), ("longest_wait", 0)):
            check_range(name, getattr(self, name), at_least=least)
        check_range("timeout", self.timeout, above=0)
        if self.max_tokens is not None:
            check_range("max_tokens", self.max_tokens, at_least=1)
        if self.temperature is not None:
            check_range("temperature", self.temperature, at_least=0)
        for name in ("model", "messages", "n", "stream", "max_tokens", "temperature"):
            if name in (self.options or {}):
                instead = "; use the setting of this name" if hasattr(self, name) else ""
                raise ConfigError(f"options: {name!r} is set by the writer and cannot be passed on{instead}")
        if find_spec("httpx") is None:
            raise missing_extra("url: a server needs httpx", "privilege")
        self._check_url()
        self._key = self._read_key()

    def _check_url(self) -> None:
        import httpx

        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"url: {self.url!r} is not an address ({error})") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(
                f"url: {self.url!r} must begin with http:// or https://, such as http://127.0.0.1:8000/v1"
            )
        if url.userinfo:
            raise ConfigError(
                "url: it must not contain a user name or password; put the key into an environment variable, and name "
                "that variable in api_key_env"
            )
        if url.query or url.fragment:  # not in the error: it may be a key
            raise ConfigError("url: it must not contain '?' or '#'; end the address where the API begins")
        self._base = str(url.copy_with(path="/v1") if url.path in ("", "/") else url)

    def _read_key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ConfigError(f"api_key_env: there is no environment variable {self.api_key_env!r}, or it is empty")
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"api_key_env: the variable {self.api_key_env!r} has characters that a key cannot have")
        return key

    def settings(self) -> dict[str, Any]:
        """Return the settings; see :class:`~dopd_lightning.hints.Writer`. The first call sends a request."""
        return {
            "model": self._served,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "options": dict(self.options or {}),
        }

    @cached_property
    def _served(self) -> str:
        """Name of the model on the server. Its request also checks that the server can be reached and grants access."""
        import httpx

        try:
            response = asyncio.run(self._list())
        except TimeoutError:
            reason = f"none within timeout={self.timeout:g} s"
            raise ConfigError(f"url: no server answers at {self._base} ({reason}); is it running?") from None
        except (httpx.HTTPError, AnswerTooLarge) as error:
            reason = str(error) or type(error).__name__
            raise ConfigError(f"url: no server answers at {self._base} ({reason}); is it running?") from error
        # Some keys give access to a model but not to the list; the first message shows it.
        if response.status == 401 or (response.status == 403 and self.model is None):
            raise self._denied(Denied(response.status, short(response.text, self._key)))
        if self.model is not None:  # not every server lists its models
            return self.model
        try:
            names = [str(entry["id"]) for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"model: the server at {self._base} does not list its models ({_MODELS} answers "
                f"{response.status}); give the model's name, and check that the address ends where the API begins"
            ) from error
        if len(names) != 1:
            raise ConfigError(f"model: the server at {self._base} has {', '.join(names) or 'none'}; name one of them")
        return names[0]

    async def _list(self) -> Answer:
        import httpx

        async with httpx.AsyncClient(**self._connection()) as client, asyncio.timeout(self.timeout):
            return await read_answer(client, "GET", _MODELS)

    @contextmanager
    def open(self) -> Iterator[Write]:
        """Open connections to the server; see :class:`~dopd_lightning.hints.Writer`."""
        import httpx

        self.settings()  # requests the name of the model before the event loop starts
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        with asyncio.Runner() as runner:
            client = httpx.AsyncClient(**self._connection(), limits=limits)
            try:
                yield lambda messages: self._write(runner, client, messages)
            finally:
                runner.run(client.aclose())

    def _connection(self) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        return {"base_url": self._base, "headers": headers, "timeout": None}

    def _write(self, runner: asyncio.Runner, client: httpx.AsyncClient, messages: Iterable[str]) -> Replies:
        """Yield replies; the event loop runs only while the caller waits for the next one."""
        loop = runner.get_loop()
        waiting = iter(enumerate(messages))
        running: dict[asyncio.Task[Reply | Failure], int] = {}
        try:
            while True:
                while len(running) < self.concurrency and (following := next(waiting, None)) is not None:
                    index, message = following
                    running[loop.create_task(self._ask(client, message))] = index
                if not running:
                    return
                done, _ = runner.run(asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))
                for task in sorted(done, key=lambda task: task.exception() is not None):  # an error ends the run: last
                    yield running.pop(task), task.result()
        finally:
            if running:
                for task in running:
                    task.cancel()
                runner.run(asyncio.wait(running))

    async def _ask(self, client: httpx.AsyncClient, message: str) -> Reply | Failure:
        import httpx

        body = {"model": self._served, "messages": [{"role": "user", "content": message}], **(self.options or {})}
        given = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        body |= {name: value for name, value in given.items() if value is not None}
        content = json.dumps(body).encode()  # ASCII with escapes, so that lone surrogates can be encoded
        tokens, wait = Tokens(), self.first_wait
        for further in range(self.retries, -1, -1):
            asked = None
            try:
                async with asyncio.timeout(self.timeout):
                    response = await read_answer(client, "POST", _CHAT, content=content)
                reply = reply_in(response, self._key)
                return Reply(reply.text, tokens + reply.tokens)
            except TimeoutError:
                sentence = f"no answer within {self.timeout:g} s"
            except httpx.HTTPError as error:
                sentence = f"the connection failed: {error or type(error).__name__}"
            except AnswerTooLarge as error:
                sentence = str(error)
            except Unusable as error:
                sentence, asked, tokens = str(error), error.retry_after, tokens + error.tokens
                if not error.passes:
                    return Failure(sentence, tokens)
            except Denied as error:
                raise self._denied(error) from None
            if further:
                # Random waits spread the requests over time.
                pause = random.uniform(0.5, 1.0) * wait if asked is None else asked
                await asyncio.sleep(min(pause, self.longest_wait))
                wait *= 2
        tries = f"{self.retries + 1} tries" if self.retries else "one try"
        return Failure(f"after {tries}: {sentence}", tokens)

    def _denied(self, error: Denied) -> ConfigError:
        """Return the error for a denial, which would be the same for every row."""
        if error.status == 404:
            return ConfigError(
                f"model: {self._base}/{_CHAT} answers 404 for {self._served!r} ({error.text}); check the name of "
                "the model, and that the address ends where the API begins, such as /v1"
            )
        key = "no key was sent; name its variable" if self._key is None else f"check the key in {self.api_key_env}"
        return ConfigError(f"api_key_env: {self._base} answers {error.status}; {key} ({error.text})")
