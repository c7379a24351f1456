"""Servers that never end their answers, and answers that are none: a sentence, soon, and in little memory."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from dopd_lightning.errors import ConfigError, EngineError
from dopd_lightning.hints import ServerWriter
from dopd_lightning.rollout.json_client import json_client

OK = b"HTTP/1.1 200 OK\r\n"


def dribble(connection: socket.socket, text: bytes) -> None:
    for byte in text:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def headers_in_drops(connection: socket.socket) -> None:
    dribble(connection, OK + b"X: y\r\n" * 1000)


def body_in_drops(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 1000\r\n\r\n")
    dribble(connection, b" " * 1000)


def endless(connection: socket.socket) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")


def whole(status: str, body: bytes, headers: str = "") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Start a server that answers each connection in this way, and return its address."""
    listening = []

    def start(answer: Callable[[socket.socket], None]) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def handle(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(2**16)
                    answer(connection)
                except OSError:  # the client had enough
                    pass

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in listening:
        server.close()


def asked(url: str, timeout: float = 5.0) -> object:
    with json_client(url, timeout) as ask:
        return ask("GET", "/v1/models")


@pytest.mark.parametrize("answer", [headers_in_drops, body_in_drops])
def test_the_deadline_is_of_the_whole_answer(answer, serve):
    url, began = serve(answer), time.monotonic()
    with pytest.raises(EngineError, match=r"/v1/models did not answer within 0\.5 s; raise engine\.timeout"):
        asked(url, timeout=0.5)
    assert time.monotonic() - began < 2


def test_the_deadline_is_of_all_tries_together(serve, monkeypatch):
    monkeypatch.setattr("dopd_lightning.rollout.json_client._WAITS", (60.0,))
    url, began = serve(whole("503 Busy", b"later")), time.monotonic()
    with pytest.raises(EngineError, match=r"did not answer within 0\.5 s \(its last answer was 503: later\); raise"):
        asked(url, timeout=0.5)
    assert time.monotonic() - began < 2


def test_an_endless_answer_is_not_read_to_its_end(serve):
    url = serve(endless)
    tracemalloc.start()
    try:
        with pytest.raises(EngineError, match=r"/v1/models: the answer is larger than 16,777,216 bytes"):
            asked(url, timeout=60)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (whole("307 Moved", b"", "Location: https://elsewhere/v1/models\r\n"), "307, and that it has moved to https:"),
        (whole("404 Not Found", b"<html>\n<h1>Not\nFound</h1>\n" + b"x" * 9999), "404: <html> <h1>Not Found</h1> xx"),
        (whole("200 OK", b"<!doctype html>\n<p>Welcome"), "no JSON: '<!doctype html> <p>Welcome'"),
        (whole("200 OK", b"[" * 100_000), r"no JSON: '\[\["),
        (whole("200 OK", b"\xff\xfe\x00"), "no JSON: "),
        (whole("200 OK", b"no zip", "Content-Encoding: gzip\r\n"), "cannot be reached: Error -3 while decompressing"),
    ],
)
def test_what_is_no_answer_is_a_sentence_in_one_line(answer, sentence, serve):
    with pytest.raises(EngineError, match=sentence) as error:
        asked(serve(answer))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_many_are_asked_side_by_side_and_the_first_failure_ends_the_others(serve):
    with json_client(serve(whole("200 OK", b"[1]")), 5) as ask:
        assert ask.all("POST", "/x", range(20), largest=100) == [[1]] * 20
        with pytest.raises(EngineError, match="the answer is larger than 2 bytes"):
            ask.all("POST", "/x", range(20), largest=2)


def test_it_works_where_an_event_loop_runs_already(serve):
    url = serve(whole("200 OK", b"[1]"))

    async def cell():
        return asked(url)

    assert asyncio.run(cell()) == [1]


@pytest.mark.parametrize(
    ("answer", "reason"), [(headers_in_drops, r"none within timeout=0\.5 s"), (endless, "the answer is larger than")]
)
def test_a_writers_server_too_is_asked_with_a_deadline(answer, reason, serve):
    timeout = 0.5 if answer is headers_in_drops else 60
    with pytest.raises(ConfigError, match=rf"^url: no server answers at .* \({reason}"):
        ServerWriter(url=serve(answer), timeout=timeout).settings()
