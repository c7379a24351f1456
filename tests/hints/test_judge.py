"""Verdicts on hints that passed every other check."""

from __future__ import annotations

import pytest

from dopd_lightning.hints.judge import read_verdict
from tests.hints.scripted import BAD, GOOD, Scripted, number_in, rows


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


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ("PASS", None),
        ("FAIL would be unfair.\n\n**PASS**\n", None),
        ("Verdict: PASS.", None),
        ("FAIL: it says 46\nThat is all.", "the judge: it says 46"),
        ("PASS: the hint must be right.\nIt is not.\n**Verdict:** FAIL: it is wrong", "the judge: it is wrong"),
        ("FAIL", "the judge: no reason given"),
    ],
)
def test_the_verdict_is_in_the_last_line_that_has_one(reply, sentence):
    reason = read_verdict(reply)
    assert (reason and reason.sentence) == sentence


@pytest.mark.parametrize("reply", ["Fine.", "Pass.", "- PASS would need no result.\nSo my verdict is FAIL: it says 46"])
def test_what_is_no_verdict(reply):
    with pytest.raises(ValueError, match="must end with PASS or FAIL"):
        read_verdict(reply)


def test_a_judge_that_cannot_be_understood_has_not_judged(run, lines, whole):
    def reply(message, n):
        if "You check" in message:
            return "Hm, PASSable." if number_in(message) == 2 else "PASS"
        return f"PASS\n{GOOD}"

    run(reply, judge="judge")
    assert whole(rows()) == ([0, 1, 3, 4, 5], [2])
    (failed,) = lines("dropped.jsonl")
    assert failed["status"] == "failed"
    assert "must end with PASS or FAIL, found 'Hm, PASSable.'" in failed["reasons"][0]["sentence"]
    assert failed["attempts"][0]["hint"] == f"PASS\n{GOOD}", "what was written for it is not lost"

    writer = Scripted(lambda message, n: "PASS")
    run(writer, judge="judge")
    assert [number_in(message) for message in writer.messages] == [2]
    assert "You check" in writer.messages[0], "the hint is there, and only the verdict was missing"
    assert whole(rows()) == ([*range(6)], [])
