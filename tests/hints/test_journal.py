"""A journal is a file that only grows, survives a process that is killed, and is refused where it does not belong."""

from __future__ import annotations

import json

import pytest

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.hints.journal import open_journal
from dopd_lightning.io.files import json_line

SETTINGS = {"kind": "steps", "attempts": 1, "allowed_numbers": [0, 0.5], "writer": {"model": "m", "options": {}}}
DIGESTS = ["aa", "bb", "cc"]
RECORD = {"row": 1, "digest": "bb", "hint": "naïve\n汉字 \ud83d", "tokens": [1, 2]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def begun(path, *records):
    with open_journal(path, SETTINGS, DIGESTS) as journal:
        for record in records:
            journal.append(record)


def found(path):
    with open_journal(path, SETTINGS, DIGESTS) as journal:
        return journal.records


def test_what_was_written_is_there_the_next_time(path):
    begun(path)
    assert found(path) == []
    begun(path, RECORD)
    begun(path, RECORD | {"row": 2, "digest": "cc"})
    assert found(path) == [RECORD, RECORD | {"row": 2, "digest": "cc"}]


def test_a_record_is_in_the_file_before_anything_else_happens(path):
    with open_journal(path, SETTINGS, DIGESTS) as journal:
        journal.append(RECORD)
        assert json.loads(path.read_bytes().splitlines()[1]) == RECORD


def test_whatever_a_killed_process_leaves_of_a_record_is_cut_off(path, caplog):
    begun(path, RECORD, RECORD)
    whole = path.read_bytes()
    last = len(json_line(RECORD))
    for length in range(1, last):
        path.write_bytes(whole[:-length])
        assert found(path) == [RECORD]
        assert "incomplete record" in caplog.text
        begun(path, RECORD)
        assert path.read_bytes() == whole


def test_half_a_header_is_no_journal_yet(path):
    begun(path)
    header = path.read_bytes()
    for length in range(len(header)):
        path.write_bytes(header[:length])
        assert found(path) == []
        assert path.read_bytes() == header


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"kind": "summary"},
            r"^privilege\.kind: 'summary', but .*journal\.jsonl was started with 'steps'; use the same",
        ),
        ({"writer": {"model": "n", "options": {}}}, r"^privilege\.writer\.model: 'n', but .* was started with 'm'"),
        (
            {"writer": {"model": "m", "options": {"top_p": 0.9}}},
            r"^privilege\.writer\.options\.top_p: 0\.9, but .* None",
        ),
        ({"allowed_numbers": [0]}, r"^privilege\.allowed_numbers: \[0\], but"),
        ({"template": "x" * 1000}, r"^privilege\.template: 'x{56}\.\.\., but"),
    ],
)
def test_other_settings_are_refused(path, changed, message):
    begun(path, RECORD)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=message), open_journal(path, SETTINGS | changed, DIGESTS):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("digests", "message"),
    [
        (
            ["aa", "bb", "cc", "dd"],
            r"was started with 3 rows, but the data has 4; use the same as before, or start afresh",
        ),
        (["aa", "bb", "dd"], r"^data\.train: not the rows that .*journal\.jsonl was started with, but the same number"),
        (["bb", "aa", "cc"], r"^data\.train\[1\]: not the row that .*journal\.jsonl has a hint for"),
    ],
)
def test_other_rows_are_refused(path, digests, message):
    begun(path, RECORD)
    with pytest.raises(DataError, match=message), open_journal(path, SETTINGS, digests):
        pass


@pytest.mark.parametrize("line", [b"not JSON", b"{}", b"[]", b'"row"', b'{"row": 9, "digest": "bb"}', b"\xff"])
def test_a_line_that_is_no_record(path, line):
    begun(path, RECORD)
    path.write_bytes(path.read_bytes() + line + b"\n" + json_line(RECORD))
    with pytest.raises(DataError, match=r"journal\.jsonl"):
        found(path)


def test_a_file_that_is_no_journal(path):
    path.write_text('{"prompt": "What?"}\n')
    with pytest.raises(DataError, match=r"journal\.jsonl, line 1: not a record of a journal"):
        found(path)
    path.write_text('{"journal": 99, "anything": {}}\n')
    with pytest.raises(DataError, match="another version"):
        found(path)


def test_two_at_once_are_one_too_many(path):
    with (
        open_journal(path, SETTINGS, DIGESTS),
        pytest.raises(ConfigError, match=r"^paths\.output_dir: another process"),
        open_journal(path, SETTINGS, DIGESTS),
    ):
        pass
    assert found(path) == []
