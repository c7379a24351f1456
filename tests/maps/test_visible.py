"""Every token is visible, each in its place."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dopd_lightning.maps.visible import CONTINUED, LONGEST, Shown, readable, shown, shown_alone


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (" the", "␣the"),
        ("    ", "␣␣␣␣"),
        (".\n\n", ".↵↵"),
        ("\ta\r", "⇥a␍"),
        ("\0\x1b\x7f", "␀␛␡"),
        ("\x85", "<U+0085>"),
        ("\u202egnp.exe", "<U+202E>gnp.exe"),
        ("a\u200fb\u2066", "a<U+200F>b<U+2066>"),
        ("\ufeffx\u200b\u200d", "<U+FEFF>x<U+200B><U+200D>"),
        ("\u00a0\u3000\u2028", "<U+00A0><U+3000><U+2028>"),
        ("\u00ad\u3164\u2800\ufe0f", "<U+00AD><U+3164><U+2800><U+FE0F>"),
        ("\u0301a", "◌\u0301a"),
        ("e\u0301", "e\u0301"),
        ("\U000e0041\ue000", "<U+E0041><U+E000>"),
        ("<b>&lt;</b>", "<b>&lt;</b>"),
        ("שלום 中文 🙂", "שלום␣中文␣🙂"),
    ],
)
def test_what_is_invisible_or_disturbs_the_layout_is_shown(text, seen):
    assert shown_alone(text.encode()) == seen


def test_a_pile_of_marks_does_not_grow_over_its_neighbours():
    assert shown_alone(("o" + "\u0301" * 5).encode()) == "o\u0301\u0301\u0301<U+0301><U+0301>"


def test_a_long_token_is_cut_and_its_length_said():
    assert shown_alone(b"x" * 10_000) == "x" * LONGEST + "… (10,000 characters)"
    assert shown_alone(b"x" * LONGEST) == "x" * LONGEST


def test_bytes_that_are_no_character_stand_in_hexadecimal():
    assert shown_alone(b"\xf0\x9f") == r"\xf0\x9f"
    assert shown_alone(b"a\xffb") == r"a\xffb"
    assert shown_alone("\ud800".encode("utf-8", "surrogatepass")) == r"\xed\xa0\x80"


def test_a_character_of_several_tokens_stands_in_the_first():
    assert shown([b"so ", b"\xf0\x9f", b"\x99", b"\x82", b"!"]) == [
        Shown("so␣"),
        Shown("🙂", "bytes 1–2 of the 4 of 🙂"),
        Shown(CONTINUED, "byte 3 of the 4 of 🙂"),
        Shown(CONTINUED, "byte 4 of the 4 of 🙂"),
        Shown("!"),
    ]


def test_a_token_may_end_one_character_and_begin_the_next():
    assert shown([b"a\xc3", b"\xa9b\xe2", b"\x82\xac"]) == [
        Shown("aé", "byte 1 of the 2 of é"),
        Shown(f"{CONTINUED}b€", "byte 2 of the 2 of é; byte 1 of the 3 of €"),
        Shown(CONTINUED, "bytes 2–3 of the 3 of €"),
    ]


def test_bytes_that_never_become_a_character_say_so_in_a_sequence_too():
    assert shown([b"\xf0\x9f", b"ok", b"\x82", b"\xf0", b"\x9f"]) == [
        Shown(r"\xf0\x9f"),
        Shown("ok"),
        Shown(r"\x82"),
        Shown(r"\xf0"),
        Shown(r"\x9f"),
    ]


def test_a_prompt_keeps_its_lines_and_spaces():
    assert readable("Add\r\n  1\t2.\u202e e\u0301 \ud800") == "Add\n  1\t2.<U+202E> e\u0301 <U+D800>"


@given(st.lists(st.binary(max_size=6), max_size=12))
def test_nothing_invisible_is_left_of_any_bytes(pieces):
    for token, alone in zip(shown(pieces), map(shown_alone, pieces), strict=True):
        for text in (*token, alone):
            assert not {c for c in text.replace(" ", "") if unicodedata.category(c)[0] in "CZ"}
            assert not text or not unicodedata.category(text[0]).startswith("M")


INK = st.characters(categories=["L", "N", "P", "S"], exclude_characters=f"\u3164\uffa0\u2800\u115f\u1160{CONTINUED}")


@given(st.text(INK, max_size=LONGEST), st.data())
def test_a_text_cut_into_any_bytes_is_seen_whole_once(text, data):
    whole = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=8)) | {0, len(whole)})
    pieces = [whole[start:end] for start, end in pairwise(cuts)]
    assert "".join(token.text for token in shown(pieces)).replace(CONTINUED, "") == text
