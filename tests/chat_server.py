"""A chat server on loopback that speaks OpenAI's protocol, and can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Sent(NamedTuple):
    """Answer of a chat server instead of, or around, a reply.

    Attributes:
        content: a reply's text, or bytes that are the whole body, or ``None`` to hang up without a word.
        pause: seconds before it, or, with ``dribble``, between its bytes.
    """

    content: str | bytes | None
    status: int = 200
    headers: Mapping[str, str] = {}
    finish_reason: str = "stop"
    pause: float = 0.0
    dribble: bool = False


class ChatServer(ThreadingHTTPServer):
    """Speaks OpenAI's protocol on loopback.

    Attributes:
        reply: ``(message, number of the request)`` to the reply's text, or the fields of :class:`Sent`.
        models: that it lists; ``None`` where it does not, and answers ``no_list``.
        key: that it wants.
        requests: bodies, as they came; ``headers`` of the last.
        at_once: the most requests that it had at a time.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ChatHandler)
        self.reply: Callable[[str, int], str | dict[str, Any]] = lambda message, number: (
            "Step 1: add. Step 2: subtract."
        )
        self.models: tuple[str, ...] | None = ("writer",)
        self.no_list = 404
        self.key: str | None = None
        self.requests: list[dict[str, Any]] = []
        self.headers: Mapping[str, str] = {}
        self.at_once = self._now = 0
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def messages(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]

    def sent(self, path: str, body: dict[str, Any] | None) -> Sent:
        if self.key is not None and self.headers.get("Authorization") != f"Bearer {self.key}":
            return Sent(f'{{"error": "no: {self.headers.get("Authorization")}"}}'.encode(), 401)
        if path == "/v1/models" and self.models is not None:
            return Sent(json.dumps({"data": [{"id": name} for name in self.models]}).encode())
        if path == "/v1/models":
            return Sent(b'{"error": "no such page"}', self.no_list)
        if path != "/v1/chat/completions" or body is None:
            return Sent(b'{"error": "no such page"}', 404)
        with self._lock:
            self.requests.append(body)
            number = len(self.requests)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            answer = self.reply(body["messages"][-1]["content"], number)
            sent = Sent(**answer) if isinstance(answer, dict) else Sent(answer)
            if sent.pause and not sent.dribble:
                time.sleep(sent.pause)
            return sent
        finally:
            with self._lock:
                self._now -= 1


class _ChatHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_GET(self) -> None:
        self._send(None)

    def do_POST(self) -> None:
        self._send(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _send(self, body: dict[str, Any] | None) -> None:
        self.server.headers = dict(self.headers)
        sent = self.server.sent(self.path, body)
        content = sent.content
        if isinstance(content, str):
            choice = {"message": {"role": "assistant", "content": content}, "finish_reason": sent.finish_reason}
            usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
            content = json.dumps({"choices": [choice], "usage": usage}).encode()
        try:
            if content is None:
                self.close_connection = True
                return
            self.send_response(sent.status)
            for name, value in {"Content-Length": str(len(content)), **sent.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(content), 1 if sent.dribble else max(len(content), 1)):
                self.wfile.write(content[start : start + 1] if sent.dribble else content)
                if sent.dribble:
                    time.sleep(sent.pause)
        except OSError:  # the client had enough
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass
