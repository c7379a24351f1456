"""Wherever a run stops, the next one goes on from there."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time

import pytest

from dopd_lightning.errors import ConfigError, DataError, EngineError
from dopd_lightning.hints import Failure, HintPipeline, ServerWriter
from tests.hints.scripted import BAD, GOOD, Scripted, number_in, rows


class Stop(BaseException):
    pass


@pytest.mark.parametrize("judge", [None, "judge"])
def test_wherever_it_stops_it_goes_on_from_there(run, whole, tmp_path, judge):
    """One reply a run: each is asked for once, whatever happens to it."""
    asked = []

    def reply(message, n):
        if n > 1:
            raise Stop
        asked.append(message)
        if "You check a hint" in message:
            return "FAIL: no" if number_in(message) == 4 else "PASS"
        row = number_in(message)
        return BAD if row == 1 else Failure("no") if row == 3 and asked.count(message) == 1 else GOOD

    for _ in range(40):
        try:
            run(Scripted(reply), attempts=2, judge=judge)
            break
        except Stop:
            assert not (tmp_path / "hints.jsonl").exists(), "nobody takes it for all"
    _, others = whole(rows())
    assert others == ([1] if judge is None else [1, 4])
    written = 6 + 1 + 1 + (judge is not None)  # again: a bad one, a failed one, one that the judge sends back
    judged = 0 if judge is None else 5 + 1
    assert len(asked) == written + judged


def test_results_of_an_unfinished_run_are_gone_when_it_goes_on(run, tmp_path):
    """A row that failed before could else be in both files."""
    run(lambda message, n: Failure("no") if n == 1 else GOOD)

    def stop(message, n):
        raise Stop

    with pytest.raises(Stop):
        run(stop)
    assert {path.name for path in tmp_path.glob("*.json*")} == {"journal.jsonl", ".journal.jsonl.lock"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "answer"}, r"^privilege\.kind: 'answer', but .* was started with 'steps'"),
        ({"kind": "summary"}, r"^privilege\.kind: 'summary', but .* was started with 'steps'"),
        ({"attempts": 2}, r"^privilege\.attempts: 2, but .* with 1"),
        ({"max_words": 9}, r"^privilege\.max_words: 9, but .* with 200"),
        ({"judge": "judge"}, r"^privilege\.judge: 'You check a hint"),
        ({"allowed_numbers": (777,)}, r"^privilege\.allowed_numbers: \[777\], but"),
        ({"writer": Scripted(None, temperature=1)}, r"^privilege\.writer\.temperature: 1, but .* with None"),
    ],
)
def test_what_was_begun_otherwise_is_not_gone_on_with(run, tmp_path, changed, message):
    run(lambda message, n: GOOD)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json*")}
    with pytest.raises(ConfigError, match=message):
        run(**{"writer": lambda message, n: GOOD} | changed)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.json*")} == before


def test_a_changed_row_is_noticed(run):
    run(lambda message, n: GOOD)
    examples = rows()
    examples[3]["completion"] += "!"
    with pytest.raises(DataError, match=r"^data\.train\[3\]: not the row that"):
        run(lambda message, n: GOOD, examples)


# ----------------------------------------------------------------------------------------------------- with a server


def test_a_server_that_answers_badly_slowly_and_not_at_all(chat_server, tmp_path, whole, lines):
    """Each row meets trouble of its own kind; none is lost, and the second run has them all."""
    pytest.importorskip("httpx")
    trouble = {
        0: {"content": b"<html>", "status": 502},
        1: {"content": b"{"},
        2: {"content": GOOD, "pause": 1.5},
        3: {"content": None},
        4: {"content": "Add", "finish_reason": "length"},
        5: {"content": b"", "status": 429, "headers": {"Retry-After": "0"}},
    }
    broken = True

    def reply(message, n):
        row = number_in(message)
        return trouble[row] if broken and row in trouble else BAD if row == 8 else GOOD

    chat_server.reply = reply
    writer = ServerWriter(url=chat_server.url, timeout=0.5, retries=1, first_wait=0.01, concurrency=4)
    pipeline = HintPipeline(writer=writer, language="any")
    report = pipeline.run(rows(10), tmp_path)
    assert (report.kept, report.dropped, report.failed) == (3, 1, 6)
    assert whole(rows(10)) == ([6, 7, 9], [0, 1, 2, 3, 4, 5, 8])
    assert [row["status"] for row in lines("dropped.jsonl")] == ["failed"] * 6 + ["dropped"]

    broken = False
    asked = len(chat_server.requests)
    report = pipeline.run(rows(10), tmp_path)
    assert (report.kept, report.dropped, report.failed) == (9, 1, 0)
    assert whole(rows(10)) == ([0, 1, 2, 3, 4, 5, 6, 7, 9], [8])
    assert len(chat_server.requests) - asked == 6


def test_giving_up_on_a_server_ends_what_is_under_way(chat_server, tmp_path):
    pytest.importorskip("httpx")
    chat_server.reply = lambda message, n: (
        {"content": b"no", "status": 400} if n < 4 else {"content": GOOD, "pause": 30}
    )
    writer = ServerWriter(url=chat_server.url, concurrency=4)
    began = time.monotonic()
    with pytest.raises(EngineError, match="3 consecutive rows failed"):
        HintPipeline(writer=writer, language="any", give_up_after=3).run(rows(20), tmp_path)
    gc.collect()  # nothing is left that would complain
    assert time.monotonic() - began < 20


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_killed_processes_lose_nothing(chat_server, tmp_path, whole, lines):
    """SIGKILL, at four moments that nobody chose: the next process goes on from what the journal has."""
    pytest.importorskip("httpx")
    examples = rows(40)
    chat_server.reply = lambda message, n: {"content": BAD if number_in(message) % 5 == 0 else GOOD, "pause": 0.01}

    def work():
        writer = ServerWriter(url=chat_server.url, concurrency=3)
        HintPipeline(writer=writer, attempts=2, language="any").run(examples, tmp_path)

    for _ in range(4):
        asked = len(chat_server.requests)
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        while len(chat_server.requests) < asked + 9:
            assert process.is_alive()
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "hints.jsonl").exists()
        time.sleep(0.1)  # for what was under way
    work()
    places, others = whole(examples)
    assert others == [*range(0, 40, 5)]
    assert all(len(row["attempts"]) == 2 for row in lines("dropped.jsonl"))
    assert {row["privileged"] for row in lines("hints.jsonl")} == {GOOD}
    needed = 40 + 8
    assert needed <= len(chat_server.requests) <= needed + 4 * 3, "at most what was under way was asked for again"
    assert len(places) == 32
