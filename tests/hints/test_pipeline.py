"""Every row ends in exactly one of two files, whatever the writer does."""

from __future__ import annotations

import json

import pytest

from dopd_lightning.data.tasks import HINT_KINDS
from dopd_lightning.errors import ConfigError, DataError, EngineError
from dopd_lightning.hints import Failure, Tokens
from tests.hints.scripted import BAD, GOOD, Scripted, number_in, rows


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


# ---------------------------------------------------------------------------------------------------------- failures


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


def test_the_run_stops_when_nothing_but_failures_comes(run, lines, whole):
    def reply(message, n):
        return GOOD if n == 2 else Failure("gone")

    with pytest.raises(EngineError, match=r"^privilege.writer: 3 consecutive rows failed, the last one with: gone"):
        run(writer := Scripted(reply), give_up_after=3)
    assert [number_in(message) for message in writer.messages] == [0, 1, 2, 3, 4], "one that succeeds breaks a row"
    assert whole(rows()) == ([1], [0, 2, 3, 4, 5])
    assert lines("dropped.jsonl")[-1]["reasons"][0]["sentence"] == "the run gave up before its turn"
    writer = Scripted(lambda message, n: GOOD)
    run(writer, give_up_after=3)
    assert [number_in(message) for message in writer.messages] == [0, 2, 3, 4, 5]
    assert whole(rows()) == ([*range(6)], [])


def test_rows_that_fail_every_time_do_not_take_away_what_the_others_have(run, whole):
    """Tried again, they come one after the other, and the run gives up on each attempt."""

    def reply(message, n):
        return Failure("no") if number_in(message) % 2 else GOOD

    run(reply, give_up_after=3)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"the last one with: no\. .*give_up_after$"):
            run(reply, give_up_after=3)
        assert whole(rows()) == ([0, 2, 4], [1, 3, 5])
    assert run(reply, give_up_after=4).kept == 3


def test_giving_up_on_the_judge_keeps_no_hint_that_was_not_judged(run, whole):
    def reply(message, n):
        judging = "You check" in message
        return (Failure("no") if number_in(message) else "PASS") if judging else GOOD

    with pytest.raises(EngineError):
        run(reply, judge="judge", give_up_after=2)
    assert whole(rows()) == ([0], [1, 2, 3, 4, 5])


class Silent(Scripted):
    def write(self, messages):
        yield from [*super().write(messages)][1:]


def test_a_writer_that_leaves_messages_out_is_not_asked_for_ever(run):
    with pytest.raises(EngineError, match=r"^privilege\.writer: 5 replies to 6 messages$"):
        run(Silent(lambda message, n: GOOD))


# --------------------------------------------------------------------------------------------- kinds without a model


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


# ----------------------------------------------------------------------------------------------------- before it all


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "hints"}, "kind: 'hints' is not one of answer, none, steps, steps_executed, summary"),
        ({"attempts": 0}, "attempts: 0 must be at least 1"),
        ({"max_words": 0}, "max_words: 0 must be at least 1"),
        ({"give_up_after": 0}, "give_up_after: 0 must be at least 1"),
        ({"allowed_numbers": ["3"]}, "allowed_numbers: '3' is not a number"),
        ({"language": "german"}, "language: 'german' is not one of the"),
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


def test_a_row_that_cannot_be_judged_stops_it_before_the_first_request(run, tmp_path):
    template, judge = tmp_path / "writer.jinja", tmp_path / "judge.jinja"
    template.write_text("{{ question }}")
    judge.write_text("{{ question }} {{ hint }} {{ solution }}")
    writer = Scripted(lambda message, n: GOOD)
    with pytest.raises(DataError, match=r"^data\.train\[0\]: the template '.*judge.jinja' uses .*'completion'"):
        run(writer, [{"prompt": "Why?"}], template=str(template), judge=str(judge))
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
