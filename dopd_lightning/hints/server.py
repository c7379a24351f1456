"""Hints from a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, OpenAI and most others (httpx)."""

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
    """A chat model behind ``/v1/chat/completions``.

    Time-outs, dropped connections, answers 408, 409, 425, 429 and from 500 upwards, and answers that are no use (no
    JSON, fields missing, nothing said, cut off by the length limit) are tried again, later each time, or when the
    server's ``Retry-After`` says. Refusals of access and of the model (401, 403, 404) end the run.

    Args:
        url: of the server, up to and including ``/v1``.
        model: name that it has there; ``None`` where the server has one model only.
        api_key_env: environment variable that holds the key, if the server wants one. The key itself is never written
            or logged.
        max_tokens: most tokens of a reply; ``None`` leaves that to the server.
        temperature: of the samples; ``None`` leaves it to the server.
        options: further fields of each request, such as ``{"top_p": 0.9}`` or vLLM's ``chat_template_kwargs``.
        concurrency: requests at a time.
        timeout: seconds for one answer, from the connection to its last byte.
        retries: further tries after the first.
        first_wait: seconds before the second try; each later wait is twice as long.
        longest_wait: seconds that no wait exceeds, whoever asks for it.

    Raises:
        ConfigError: for settings that cannot work, a missing key, or a missing httpx.
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
                instead = "; it has a setting of its own" if hasattr(self, name) else ""
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
            raise ConfigError(f"url: {self.url!r} is no address ({error})") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(
                f"url: {self.url!r} must begin with http:// or https://, such as http://127.0.0.1:8000/v1"
            )
        if url.userinfo:
            raise ConfigError("url: an address has no place for secrets; put the key into a variable for api_key_env")
        if url.query or url.fragment:  # not repeated here: it may be a key
            raise ConfigError("url: what stands behind '?' or '#' cannot be kept; end the address where the API begins")
        self._base = str(url.copy_with(path="/v1") if url.path in ("", "/") else url)

    def _read_key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ConfigError(f"api_key_env: there is no environment variable {self.api_key_env!r}, or it is empty")
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"api_key_env: the variable {self.api_key_env!r} holds what cannot be sent as a key")
        return key

    def settings(self) -> dict[str, Any]:
        """See :class:`~dopd_lightning.hints.Writer`; the first to ask the server anything."""
        return {
            "model": self._served,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "options": dict(self.options or {}),
        }

    @cached_property
    def _served(self) -> str:
        """The model's name there. Asking for it shows whether the server is there, and lets us in."""
        import httpx

        try:
            response = asyncio.run(self._list())
        except TimeoutError:
            reason = f"none within timeout={self.timeout:g} s"
            raise ConfigError(f"url: no server answers at {self._base} ({reason}); is it running?") from None
        except (httpx.HTTPError, AnswerTooLarge) as error:
            reason = str(error) or type(error).__name__
            raise ConfigError(f"url: no server answers at {self._base} ({reason}); is it running?") from error
        # Some keys may ask a model, but not for the list: that shows when they do.
        if response.status == 401 or (response.status == 403 and self.model is None):
            raise self._denied(Denied(response.status, short(response.text, self._key)))
        if self.model is not None:  # not every server lists what it has
            return self.model
        try:
            names = [str(entry["id"]) for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"model: the server at {self._base} does not list its models ({_MODELS} answers "
                f"{response.status}); give the model's name, and check that the address ends where the API begins"
            ) from error
        if len(names) != 1:
            raise ConfigError(f"model: the server at {self._base} has {', '.join(names) or 'none'}; name one")
        return names[0]

    async def _list(self) -> Answer:
        import httpx

        async with httpx.AsyncClient(**self._connection()) as client, asyncio.timeout(self.timeout):
            return await read_answer(client, "GET", _MODELS)

    @contextmanager
    def open(self) -> Iterator[Write]:
        """See :class:`~dopd_lightning.hints.Writer`."""
        import httpx

        self.settings()  # asks for the model's name, which is no thing to wait for inside an event loop
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
        """The event loop runs while somebody waits for the next reply."""
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
                for task in sorted(done, key=lambda task: task.exception() is not None):  # what ends it all, last
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
        content = json.dumps(body).encode()  # in ASCII, which any text has, lone surrogates included
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
                # Not all at the same moment again.
                pause = random.uniform(0.5, 1.0) * wait if asked is None else asked
                await asyncio.sleep(min(pause, self.longest_wait))
                wait *= 2
        tries = f"{self.retries + 1} tries" if self.retries else "one try"
        return Failure(f"after {tries}: {sentence}", tokens)

    def _denied(self, error: Denied) -> ConfigError:
        """Return the error for a refusal that will repeat for every row."""
        if error.status == 404:
            return ConfigError(
                f"model: {self._base}/{_CHAT} answers 404 for {self._served!r} ({error.text}); is that its name there, "
                "and does the address end where the API begins, such as /v1?"
            )
        key = "there is no key: name its variable" if self._key is None else f"to the key in {self.api_key_env}"
        return ConfigError(f"api_key_env: {self._base} answers {error.status}; {key} ({error.text})")
