"""A writer behind a real HTTP server on loopback, which also answers badly, late, or not at all."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dopd_lightning.errors import ConfigError
from dopd_lightning.hints import Failure, Reply, ServerWriter, Tokens

HINT = "Step 1: add. Step 2: subtract."
KEY = "sk-a-key-that-nobody-may-see"


@pytest.fixture
def ask(chat_server):
    """Write to messages (one by default), and the replies in the messages' order."""

    def asked(*messages, **options):
        fields = {"url": chat_server.url, "first_wait": 0.01, "longest_wait": 0.05, "timeout": 2.0} | options
        with ServerWriter(**fields).open() as write:
            replies = dict(write(messages or ("What?",)))
        ordered = [replies[index] for index in range(len(messages or ("What?",)))]
        return ordered if messages else ordered[0]

    return asked


@pytest.fixture
def nobody():
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def in_turn(*answers):
    """One after the other; the last is repeated."""
    return lambda message, number: answers[min(number, len(answers)) - 1]


# --------------------------------------------------------------------------------------------- what is asked


def test_a_message_and_its_reply(chat_server, ask):
    assert ask() == Reply(HINT, Tokens(10, 3))
    (request,) = chat_server.requests
    assert request == {
        "model": "writer",
        "messages": [{"role": "user", "content": "What?"}],
        "max_tokens": 1024,
        "temperature": 0.7,
    }
    assert "Authorization" not in chat_server.headers


def test_options_are_passed_on_and_what_is_null_is_left_to_the_server(chat_server, ask):
    ask(max_tokens=None, temperature=None, options={"top_p": 0.9, "chat_template_kwargs": {"enable_thinking": False}})
    (request,) = chat_server.requests
    assert set(request) == {"model", "messages", "top_p", "chat_template_kwargs"}


def test_the_key_comes_from_the_environment(chat_server, ask, monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    chat_server.key = KEY
    assert ask(api_key_env="A_KEY").text == HINT


def test_an_address_without_a_path_gets_v1(chat_server, ask):
    assert ask(url=chat_server.url.removesuffix("/v1")).text == HINT
    assert ask(url=f"{chat_server.url}/").text == HINT


def test_text_that_no_utf8_holds_is_sent_and_read(chat_server, ask):
    chat_server.reply = lambda message, number: message
    (reply,) = ask("half a \ud83d pair, 汉字")
    assert reply.text == "half a \ud83d pair, 汉字"


def test_many_messages_a_few_at_a_time(chat_server, ask):
    chat_server.reply = lambda message, number: {"content": f"re: {message}", "pause": 0.1}
    messages = [str(n) for n in range(16)]
    assert [reply.text for reply in ask(*messages, concurrency=4)] == [f"re: {n}" for n in range(16)]
    assert chat_server.at_once == 4


def test_messages_are_asked_for_when_there_is_room(chat_server):
    taken = []

    def messages():
        for n in range(40):
            taken.append(n)
            yield str(n)

    with ServerWriter(url=chat_server.url, concurrency=3).open() as write:
        next(write(messages()))
        assert len(taken) == 3


def test_thinking_is_no_part_of_the_reply(chat_server, ask):
    chat_server.reply = lambda message, number: "<think>it is 41</think>\n\nStep 1: add.\n"
    assert ask().text == "Step 1: add."


# ---------------------------------------------------------------------------------------- what does not help


BAD = {
    "500": ({"content": b"oh", "status": 500}, "the server answers 500: oh"),
    "429": ({"content": b"slow down", "status": 429}, "the server answers 429: slow down"),
    "503 as a page": ({"content": b"<html>\n gone", "status": 503}, "the server answers 503: <html> gone"),
    "no JSON": ({"content": b"<html>"}, "the answer is not JSON: '<html>'"),
    "no UTF-8": ({"content": b'{"choices": "\xff\xfe'}, "the answer is not JSON"),
    "half of it": ({"content": b'{"choices": [{"mess'}, "the answer is not JSON"),
    "deep": ({"content": b"[" * 100_000}, "the answer is not JSON"),
    "nothing": ({"content": b""}, "the answer is not JSON"),
    "null": ({"content": b"null"}, "the answer is not a chat completion: TypeError"),
    "a list": ({"content": b"[]"}, "the answer is not a chat completion"),
    "no choices": ({"content": b'{"usage": {}}'}, "not a chat completion: KeyError 'choices' in {'usage': {}}"),
    "empty choices": ({"content": b'{"choices": []}'}, "the answer is not a chat completion: IndexError"),
    "no message": ({"content": b'{"choices": [{}]}'}, "the answer is not a chat completion: KeyError 'message'"),
    "choices of text": ({"content": b'{"choices": "x"}'}, "the answer is not a chat completion"),
    "content null": ({"content": b'{"choices": [{"message": {"content": null}}]}'}, "the reply is empty"),
    "content a number": ({"content": b'{"choices": [{"message": {"content": 3}}]}'}, "the reply is empty"),
    "blank": ({"content": " \n "}, "the reply is empty"),
    "only thoughts": ({"content": "<think>hm"}, "the reply is empty"),
    "cut off": ({"content": "Step 1", "finish_reason": "length"}, "cut off by the length limit; raise max_tokens"),
    "filtered": ({"content": "Step 1", "finish_reason": "content_filter"}, "content filter blocked the reply"),
    "hangs up": ({"content": None}, "the connection failed: "),
    "hangs up half way": (
        {"content": b"{", "headers": {"Content-Length": "9"}, "pause": 0.6},
        "no answer within 0.3 s",
    ),
    "late": ({"content": HINT, "pause": 0.6}, "no answer within 0.3 s"),
    "in drops": ({"content": HINT, "pause": 0.05, "dribble": True}, "no answer within 0.3 s"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_of_no_use_is_tried_again_and_then_a_failure(name, chat_server, ask):
    sent, sentence = BAD[name]
    chat_server.reply = in_turn(sent)
    reply = ask(retries=1, timeout=0.3 if "0.3 s" in sentence else 30.0)  # a machine may be slow
    assert isinstance(reply, Failure)
    assert reply.sentence.startswith("after 2 tries: ")
    assert sentence in reply.sentence
    assert len(chat_server.requests) == 2


@pytest.mark.parametrize("name", BAD)
def test_what_passes_is_forgotten(name, chat_server, ask):
    chat_server.reply = in_turn(BAD[name][0], HINT)
    assert ask(timeout=0.3).text == HINT


def test_tokens_of_tries_that_came_to_nothing_count(chat_server, ask):
    cut_off = {"content": "Step", "finish_reason": "length"}
    chat_server.reply = in_turn(cut_off, cut_off, HINT)
    assert ask() == Reply(HINT, Tokens(30, 9))


@pytest.mark.parametrize("usage", ["null", "7", "{}", '{"prompt_tokens": -1, "completion_tokens": "x"}'])
def test_a_server_need_not_say_what_it_used(usage, chat_server, ask):
    body = f'{{"choices": [{{"message": {{"content": "Add."}}}}], "usage": {usage}}}'
    chat_server.reply = in_turn({"content": body.encode()})
    assert ask() == Reply("Add.", Tokens())


def test_what_is_wrong_with_one_message_is_not_tried_again(chat_server, ask):
    chat_server.reply = lambda message, number: {"content": b"too long", "status": 400} if message == "b" else HINT
    replies = ask("a", "b", "c")
    assert replies[1] == Failure("the server answers 400: too long")
    assert [type(reply) for reply in replies] == [Reply, Failure, Reply]
    assert len(chat_server.requests) == 3


def test_a_long_complaint_is_shortened(chat_server, ask):
    chat_server.reply = in_turn({"content": b"x" * 10_000, "status": 400})
    assert len(ask().sentence) < 350


# -------------------------------------------------------------------------------------------------- patience


@pytest.fixture
def waits(monkeypatch):
    """Record the waits, without waiting."""
    import asyncio

    waited, sleep = [], asyncio.sleep

    async def note(seconds):
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr("dopd_lightning.hints.server.asyncio.sleep", note)
    return waited


def test_each_wait_is_about_twice_as_long_up_to_the_longest(chat_server, ask, waits):
    chat_server.reply = in_turn(BAD["500"][0])
    ask(first_wait=1.0, longest_wait=6.0, retries=5)
    assert len(waits) == 5
    for waited, most in zip(waits, (1, 2, 4, 8, 16), strict=True):
        assert min(most / 2, 6) <= waited <= min(most, 6)


def test_a_server_says_when_to_come_back(chat_server, ask, waits):
    def limited(header):
        return {"content": b"", "status": 429, "headers": {"Retry-After": header}}

    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    answers = [limited(header) for header in ("7", "0.5", "0", "9999", date, "nan", "soon")]
    chat_server.reply = in_turn(*answers, HINT)
    assert ask(first_wait=0.0, longest_wait=60.0, retries=7).text == HINT
    assert waits[:4] == [7, 0.5, 0, 60]
    assert 25 < waits[4] <= 30
    assert waits[5:] == [0, 0], "what is no time leaves it at our own wait"


# ------------------------------------------------------------------------------------ what would fail for all


def test_nobody_there(nobody):
    with pytest.raises(ConfigError, match=r"^url: no server answers at http://127.* is it running"):
        ServerWriter(url=nobody).settings()


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ConfigError, match=r"^url: no server answers"):
            ServerWriter(url=url, timeout=0.2).settings()


@pytest.mark.parametrize("key", [None, "another"])
def test_no_access(key, chat_server, monkeypatch):
    chat_server.key = KEY
    monkeypatch.setenv("A_KEY", key or "")
    writer = ServerWriter(url=chat_server.url, model="writer", api_key_env=key and "A_KEY")
    said = "check the key in A_KEY" if key else "no key was sent"
    with pytest.raises(ConfigError, match=rf"^api_key_env: .* answers 401; {said}"):
        writer.settings()


def test_no_such_page_and_no_such_model(chat_server):
    with pytest.raises(ConfigError, match=r"^model: the server .* does not list its models \(models answers 404\)"):
        ServerWriter(url=f"{chat_server.url}/typo").settings()
    with (
        pytest.raises(ConfigError, match=r"^model: .*/typo/chat/completions answers 404 for 'writer' .*no such page"),
        ServerWriter(url=f"{chat_server.url}/typo", model="writer", first_wait=60).open() as write,
    ):
        list(write(["a", "b"]))
    assert chat_server.requests == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_access_that_ends_while_writing_stops_it_all(status, chat_server):
    chat_server.reply = lambda m, n: HINT if n < 3 else {"content": b"", "status": status}
    with ServerWriter(url=chat_server.url, first_wait=60, concurrency=1).open() as write:
        replies = write("abcdef")
        assert [next(replies)[1].text, next(replies)[1].text] == [HINT, HINT]
        with pytest.raises(ConfigError, match=f"answers {status}"):
            next(replies)
    assert len(chat_server.requests) == 3


def test_a_server_with_several_models(chat_server):
    chat_server.models = ("one", "two")
    with pytest.raises(ConfigError, match=r"^model: the server at .* has one, two; name one of them$"):
        ServerWriter(url=chat_server.url).settings()
    assert ServerWriter(url=chat_server.url, model="two").settings()["model"] == "two"


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_lists_nothing_takes_the_name_that_is_given(status, chat_server, ask):
    """403: some keys may chat, and not see the list."""
    chat_server.models, chat_server.no_list = None, status
    assert ask(model="writer").text == HINT
    with pytest.raises(ConfigError, match=f"answers {status}"):
        ServerWriter(url=chat_server.url).settings()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "127.0.0.1:8000"}, "url: '127.0.0.1:8000' must begin with http"),
        ({"url": "ftp://host/v1"}, "url: 'ftp://host/v1' must begin with http"),
        ({"url": "http://host:port/v1"}, "url: .* is not an address"),
        ({"url": "http://me:secret@host/v1"}, "url: it must not contain a user name"),
        ({"url": "http://host/v1?key=secret"}, r"url: it must not contain '\?' or '#'; (?!.*secret)"),
        ({"url": "http://host/v1#secret"}, r"url: it must not contain '\?' or '#'; (?!.*secret)"),
        ({"api_key_env": "NOT_SET"}, "api_key_env: there is no environment variable 'NOT_SET', or it is empty"),
        ({"concurrency": 0}, "concurrency: 0 must be at least 1"),
        ({"timeout": 0}, "timeout: 0 must be above 0"),
        ({"retries": -1}, "retries: -1 must be at least 0"),
        ({"max_tokens": 0}, "max_tokens: 0 must be at least 1"),
        ({"temperature": -0.1}, "temperature: -0.1 must be at least 0"),
        ({"options": {"stream": True}}, "options: 'stream' is set by the writer and cannot be passed on$"),
        ({"options": {"temperature": 0}}, "options: 'temperature' is set by .*; use the setting of this name$"),
        ({"options": {"max_tokens": 9}}, "options: 'max_tokens' is set by .*; use the setting of this name$"),
    ],
)
def test_settings_that_cannot_work(fields, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        ServerWriter(**fields)


def test_without_httpx(monkeypatch):
    monkeypatch.setattr("dopd_lightning.hints.server.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[privilege\]'"):
        ServerWriter()


# --------------------------------------------------------------------------------------------------- secrets


def test_the_key_shows_nowhere(chat_server, ask, monkeypatch, caplog):
    """Refusals, failures, replies, the log and settings are searched."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_KEY", KEY)
    echo = ("x" * 265 + f"no such key: Bearer {KEY}").encode()  # where a complaint is cut off, in the middle of the key
    chat_server.reply = lambda message, number: (
        KEY if message == "say it" else {"content": echo, "status": int(message)}
    )
    replies = ask("400", "500", "say it", "200", api_key_env="A_KEY", retries=0)
    assert chat_server.headers["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(ConfigError) as refused:
        ask("403", api_key_env="A_KEY")
    chat_server.key = "another"
    writer = ServerWriter(url=chat_server.url, api_key_env="A_KEY")
    with pytest.raises(ConfigError) as kept_out:
        writer.settings()
    seen = [caplog.text, repr(replies), str(refused.value), str(kept_out.value), repr(writer)]
    for text in seen:
        assert KEY[:12] not in text


# ------------------------------------------------------------------------------------------------------- end


class Enough(BaseException):
    pass


def test_an_interruption_does_not_wait_for_answers(chat_server):
    chat_server.reply = lambda message, number: {"content": HINT, "pause": 20 if number > 1 else 0}

    def stop(number, frame):
        raise Enough

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        began = time.monotonic()
        with ServerWriter(url=chat_server.url, concurrency=3).open() as write:
            replies = write("abcdef")
            next(replies)
            threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGUSR1]).start()
            with pytest.raises(Enough):
                next(replies)
        assert time.monotonic() - began < 5
    finally:
        signal.signal(signal.SIGUSR1, before)
