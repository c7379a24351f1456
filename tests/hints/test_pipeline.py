"""Every row ends in exactly one of two files, whatever the writer does and whenever it stops."""

from __future__ import annotations

import gc
import json
import multiprocessing
import signal
import time
from contextlib import contextmanager

import pytest

from dopd_lightning.data.tasks import HINT_KINDS
from dopd_lightning.errors import ConfigError, DataError, EngineError
from dopd_lightning.hints import Failure, HintPipeline, Reply, ServerWriter, Tokens

GOOD = "Add both numbers."
BAD = "Add both numbers, which makes 777."


def rows(count=6):
    return [
        {"prompt": f"What is {n} + 40?", "answer": n + 40, "completion": f"{n} + 40 = {n + 40}", "source": f"row {n}"}
        for n in range(count)
    ]


class Scripted:
    """Says what it is told to; a message is known by its question."""

    def __init__(self, reply, **settings):
        self.reply, self.written_with, self.messages = reply, settings, []

    def settings(self):
        return {"model": "scripted", **self.written_with}

    @contextmanager
    def open(self):
        yield self.write

    def write(self, messages):
        for index, message in enumerate(messages):
            self.messages.append(message)
            reply = self.reply(message, len(self.messages))
            yield index, Reply(reply, Tokens(10, 3)) if isinstance(reply, str) else reply


def number_in(message):
    """Which row a message is about."""
    return int(message.split("What is ")[1].split(" +")[0])


@pytest.fixture
def run(tmp_path):
    def made(writer=None, examples=None, **settings):
        if not isinstance(writer, Scripted | None):
            writer = Scripted(writer)
        settings = {"language": "any"} | settings
        return HintPipeline(writer=writer, **settings).run(rows() if examples is None else examples, tmp_path)

    return made


@pytest.fixture
def lines(tmp_path):
    def read(name):
        return [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]

    return read


@pytest.fixture
def whole(lines):
    """Check that each row is in one file, once, in order, with all that it had; return the places in either file."""

    def check(examples):
        kept, dropped = lines("hints.jsonl"), lines("dropped.jsonl")
        places = [examples.index({k: v for k, v in row.items() if k != "privileged"}) for row in kept]
        others = [row["row"] for row in dropped]
        assert sorted(places + others) == [*range(len(examples))]
        assert places == sorted(places)
        assert others == sorted(others)
        assert [row["example"] for row in dropped] == [examples[place] for place in others]
        assert all(row["privileged"] for row in kept)
        return places, others

    return check


# ----------------------------------------------------------------------------------------------- kept and dropped


def test_what_passes_is_kept_and_what_does_not_is_dropped_with_reasons(run, lines, whole, tmp_path):
    report = run(lambda message, n: BAD if number_in(message) % 3 == 0 else GOOD)
    assert whole(rows()) == ([1, 2, 4, 5], [0, 3])
    assert lines("hints.jsonl")[0] == rows()[1] | {"privileged": GOOD}
    sentence = "it has 777, which the question does not give"
    reasons = [{"name": "execution_leaked", "sentence": sentence}]
    assert lines("dropped.jsonl")[0] == {
        "row": 0,
        "status": "dropped",
        "reasons": reasons,
        "attempts": [{"hint": BAD, "reasons": reasons}],
        "example": rows()[0],
    }
    written = json.loads((tmp_path / "report.json").read_text())
    assert written == {
        "kind": "steps",
        "rows": 6,
        "kept": 4,
        "dropped": 2,
        "failed": 0,
        "hints": 6,
        "reasons": {"execution_leaked": 2},
        "answer_unknown": 0,
        "tokens": {"prompt": 60, "completion": 18},
        "yield": 4 / 6,
    }
    assert report.share == 4 / 6


def test_privileged_text_that_was_there_is_replaced(run, lines):
    run(lambda message, n: GOOD, [rows(1)[0] | {"privileged": "old"}])
    assert lines("hints.jsonl") == [rows(1)[0] | {"privileged": GOOD}]


def test_equal_rows_stay_two_rows(run, lines):
    run(lambda message, n: BAD if n == 1 else GOOD, rows(1) * 3)
    assert len(lines("hints.jsonl")) == 2
    assert [row["row"] for row in lines("dropped.jsonl")] == [0]


def test_rows_whose_answer_nobody_knows_are_counted(run):
    examples = [{"prompt": "Why?", "completion": "Because."}, *rows(2)]
    assert run(lambda message, n: GOOD, examples).answer_unknown == 1


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_another_hint_is_written_where_one_fails_up_to_a_number(run, lines, whole, attempts):
    """Row 5 never gets a good one, the others on their second attempt."""
    written = {}

    def reply(message, n):
        row = number_in(message)
        written[row] = written.get(row, 0) + 1
        return BAD if row == 5 or written[row] < 2 else GOOD

    report = run(reply, attempts=attempts)
    _, others = whole(rows())
    assert others == ([5] if attempts > 1 else [*range(6)])
    assert written == ({n: 2 for n in range(5)} | {5: attempts} if attempts > 1 else dict.fromkeys(range(6), 1))
    assert report.hints == sum(written.values())
    assert report.tokens == {"prompt": 10 * report.hints, "completion": 3 * report.hints}
    assert [len(row["attempts"]) for row in lines("dropped.jsonl")] == [attempts] * len(others)


# ------------------------------------------------------------------------------------------------------- failures


def test_what_failed_is_not_called_bad_and_is_tried_again(run, lines, whole):
    def reply(message, n):
        return Failure("after 3 tries: no", Tokens(5, 0)) if number_in(message) == 2 else GOOD

    report = run(reply)
    assert (report.kept, report.dropped, report.failed) == (5, 0, 1)
    assert whole(rows()) == ([0, 1, 3, 4, 5], [2])
    (failed,) = lines("dropped.jsonl")
    assert failed["status"] == "failed"
    assert failed["reasons"] == [{"name": "not_written", "sentence": "after 3 tries: no"}]
    assert failed["attempts"] == []

    writer = Scripted(lambda message, n: GOOD)
    report = run(writer)
    assert [number_in(message) for message in writer.messages] == [2]
    assert whole(rows()) == ([0, 1, 2, 3, 4, 5], [])
    assert report.tokens == {"prompt": 65, "completion": 18}


def test_a_finished_run_asks_nothing_more_and_leaves_the_same(run, tmp_path):
    run(lambda message, n: BAD if n == 1 else GOOD)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json*")}
    writer = Scripted(lambda message, n: GOOD)
    run(writer)
    assert writer.messages == []
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.json*")} == before


def test_the_run_stops_when_nothing_but_failures_comes(run, tmp_path, whole):
    def reply(message, n):
        return GOOD if n == 2 else Failure("gone")

    with pytest.raises(EngineError, match=r"^privilege.writer: 3 rows failed one after the other, the last since gone"):
        run(writer := Scripted(reply), give_up_after=3)
    assert [number_in(message) for message in writer.messages] == [0, 1, 2, 3, 4], "one that succeeds breaks a row"
    assert not (tmp_path / "hints.jsonl").exists()
    writer = Scripted(lambda message, n: GOOD)
    run(writer, give_up_after=3)
    assert [number_in(message) for message in writer.messages] == [0, 2, 3, 4, 5]
    assert whole(rows()) == ([*range(6)], [])


class Silent(Scripted):
    def write(self, messages):
        yield from [*super().write(messages)][1:]


def test_a_writer_that_leaves_messages_out_is_not_asked_for_ever(run):
    with pytest.raises(EngineError, match=r"^privilege\.writer: 5 replies to 6 messages$"):
        run(Silent(lambda message, n: GOOD))


# ------------------------------------------------------------------------------------------------------- stopping


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
        ({"kind": "answer"}, r"^privilege\.kind: 'answer', but .* was begun with 'steps'"),
        ({"kind": "summary"}, r"^privilege\.kind: 'summary', but .* was begun with 'steps'"),
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


# ---------------------------------------------------------------------------------------------------------- judge


def test_a_judge_sees_what_passed_the_other_checks_and_has_the_last_word(run, lines, whole):
    def reply(message, n):
        if "You check a hint" in message:
            return "Let me see.\nFAIL: it is **wrong**" if number_in(message) == 2 else "**PASS**"
        return BAD if number_in(message) == 1 else GOOD

    writer = Scripted(reply)
    report = run(writer, judge="judge")
    assert whole(rows()) == ([0, 3, 4, 5], [1, 2])
    judged = [message for message in writer.messages if "You check a hint" in message]
    assert [number_in(message) for message in judged] == [0, 2, 3, 4, 5]
    assert report.reasons == {"execution_leaked": 1, "judged_bad": 1}
    assert lines("dropped.jsonl")[1]["reasons"] == [{"name": "judged_bad", "sentence": "the judge: it is **wrong**"}]


def test_a_judge_that_cannot_be_understood_has_not_judged(run, lines, whole):
    def reply(message, n):
        return "Hm, PASSable." if "You check" in message and number_in(message) == 2 else f"PASS\n{GOOD}"

    run(reply, judge="judge")
    assert whole(rows()) == ([0, 1, 3, 4, 5], [2])
    (failed,) = lines("dropped.jsonl")
    assert failed["status"] == "failed"
    assert "neither PASS nor FAIL, but 'Hm, PASSable.'" in failed["reasons"][0]["sentence"]
    assert failed["attempts"][0]["hint"] == f"PASS\n{GOOD}", "what was written for it is not lost"

    writer = Scripted(lambda message, n: "PASS")
    run(writer, judge="judge")
    assert [number_in(message) for message in writer.messages] == [2]
    assert "You check" in writer.messages[0], "the hint is there, and only the verdict was missing"
    assert whole(rows()) == ([*range(6)], [])


# ------------------------------------------------------------------------------------------ kinds without a model


@pytest.mark.parametrize("kind", HINT_KINDS)
def test_each_kind_of_the_paper(run, lines, kind):
    run(lambda message, n: GOOD, rows(1), kind=kind)
    (row,) = lines("hints.jsonl")
    assert row["privileged"] == {"answer": "The final answer is 40.", "none": None}.get(kind, GOOD)


def test_answers_that_are_not_known_cannot_be_given_away(run, lines):
    examples = [{"prompt": "Why?"}, {"prompt": "What?", "completion": r"So \boxed{7}."}, *rows(1)]
    report = run(None, examples, kind="answer")
    assert [row["privileged"] for row in lines("hints.jsonl")] == ["The final answer is 7.", "The final answer is 40."]
    (dropped,) = lines("dropped.jsonl")
    assert (dropped["row"], dropped["reasons"][0]["name"]) == (0, "no_answer")
    assert report.reasons == {"no_answer": 1}


# --------------------------------------------------------------------------------------------------- before it all


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "hints"}, "kind: 'hints' is not one of answer, none, steps, steps_executed, summary"),
        ({"attempts": 0}, "attempts: 0 must be at least 1"),
        ({"max_words": 0}, "max_words: 0 must be at least 1"),
        ({"give_up_after": 0}, "give_up_after: 0 must be at least 1"),
        ({"allowed_numbers": ["3"]}, "allowed_numbers: '3' is no number"),
        ({"language": "german"}, "language: 'german' is none of the"),
        ({"template": "nowhere.jinja"}, "template: 'nowhere.jinja' cannot be read"),
        ({"judge": "steps"}, "judge: 'steps' has no {{ hint }}"),
    ],
)
def test_settings_that_cannot_work(run, settings, message):
    writer = Scripted(lambda message, n: GOOD)
    with pytest.raises(ConfigError) as error:
        run(writer, **settings)
    assert str(error.value).startswith(message)
    assert writer.messages == []


def test_a_row_that_cannot_be_asked_about_stops_it_before_the_first_request(run, tmp_path):
    writer = Scripted(lambda message, n: GOOD)
    with pytest.raises(DataError, match=r"^data\.train\[6\]: the template 'steps' uses .*'completion'"):
        run(writer, [*rows(), {"prompt": "Why?"}])
    with pytest.raises(DataError, match=r"^data\.train\[1\]: cannot be written as JSON"):
        run(writer, [rows()[0], rows()[1] | {"when": {1, 2}}])
    with pytest.raises(DataError, match="there are no rows"):
        run(writer, [])
    with pytest.raises(ConfigError, match=r"^privilege\.attempts: 2 hints at temperature 0"):
        run(Scripted(None, temperature=0.0), attempts=2)
    with pytest.raises(ConfigError, match=r"^privilege\.writer: the kind 'steps' needs a model"):
        run(None)
    assert writer.messages == []
    assert not [*tmp_path.iterdir()]


# ---------------------------------------------------------------------------------------------------- with a server


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
    with pytest.raises(EngineError, match="3 rows failed"):
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
