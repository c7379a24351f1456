from __future__ import annotations

import gzip
import json
import logging
import os
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from dopd_lightning.data.collate import collate
from dopd_lightning.data.jsonl import JsonlDataset
from dopd_lightning.errors import ConfigError, DataError

GOOD = b'{"prompt": "1 + 1?"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


def test_a_line_is_an_example(file: Path) -> None:
    rows = [
        {"prompt": "1 + 1?", "privileged": "Add.", "answer": 2, "completion": "2"},
        {"prompt": [{"role": "user", "content": "caf\N{LATIN SMALL LETTER E WITH ACUTE}\u2028?"}], "level": "easy"},
    ]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    dataset = JsonlDataset(file)
    assert [dataset[n] for n in range(len(dataset))] == rows
    assert next(iter(DataLoader(dataset, batch_size=2, collate_fn=collate)))["level"] == [None, "easy"]


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_skipped(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n   \n{"prompt": "b"}\n\n')
    assert [example["prompt"] for example in JsonlDataset(str(file)).examples] == ["a", "b"]


def test_columns_are_renamed(file: Path) -> None:
    file.write_text('{"question": "1 + 1?", "label": 2}')
    assert JsonlDataset(file, columns={"prompt": "question", "answer": "label"})[0] == {"prompt": "1 + 1?", "answer": 2}
    with pytest.raises(
        DataError, match=r"train.jsonl, line 1: no 'target' \(for 'answer'\) among the keys 'question', 'label'"
    ):
        JsonlDataset(file, columns={"prompt": "question", "answer": "target"})
    with pytest.raises(ConfigError, match="columns: 'label' is not one of"):
        JsonlDataset(file, columns={"label": "answer"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{'prompt': 'a'}", "not JSON .*found \"{'prompt'"),
        (b'{"prompt": "a"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "\xff"}', "not UTF-8 .byte 0xff at position 12"),
        (b'{"prompt": "a", "id": "\\ud83d"}', r" has half a character, \\ud83d, at position 0"),
        (b'{"prompt": "a", "more": [{"b\\udc00": 1}]}', "a key has half a character"),
        (b'{"prompt": "a", "prompt": "b"}', "not JSON .the key 'prompt' is there twice"),
        (b'{"prompt": "a", "answer": 1e999}', "not JSON .the number 1e999 is too large"),
        (b'{"prompt": "a", "answer": NaN}', "not JSON .NaN is not a JSON number; use null"),
        (b'{"prompt": "a", "answer": ' + b"9" * 5000 + b"}", "not JSON .*limit"),
        (b"\0\0\0\0", "not JSON"),
        (b'["a"]', r"expected an object with a 'prompt', found list \['a'\]"),
        (b'{"question": "a"}', "no 'prompt' among the keys 'question'"),
        (b'{"prompt": 5}', "'prompt' must be text or a list of chat messages, found int 5"),
        (b'{"prompt": [{"role": "user"}]}', r"prompt\[0\] needs a 'content' that is text"),
        (b'{"prompt": "a", "privileged": {"b": 1}}', "'privileged' must be text or null, found dict"),
    ],
)
def test_a_bad_line_is_named_by_its_number_in_the_file(file: Path, line: bytes, message: str) -> None:
    file.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    with pytest.raises(DataError, match=rf"train\.jsonl, line 3.*{message}") as error:
        JsonlDataset(file)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_file_is_an_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.jsonl: no examples; expected one JSON object per line"):
        JsonlDataset(file)


def test_a_missing_file_is_named_with_the_place_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        JsonlDataset("nowhere.jsonl")
    assert str(error.value) == f"nowhere.jsonl: no such file (looked for {tmp_path / 'nowhere.jsonl'})"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (GOOD.decode().encode("utf-16"), "found UTF-16 text; save it as UTF-8"),
        (GOOD.decode().encode("utf-16-le"), "is it UTF-16 or UTF-32"),
        (gzip.compress(GOOD, mtime=0), "found a gzip archive; unpack it"),
        (b"PAR1" + bytes(8), "found a Parquet file"),
    ],
)
def test_a_file_of_another_format_is_named(file: Path, content: bytes, found: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"train\.jsonl: expected JSON Lines in UTF-8, .*{found}"):
        JsonlDataset(file)


def test_a_pipe_and_a_device_are_refused_before_anybody_waits_for_them(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(DataError, match=r"train\.jsonl: it is a named pipe; data is read more than once"):
        JsonlDataset(file)
    with pytest.raises(DataError, match="/dev/zero: it is a device"):
        JsonlDataset("/dev/zero")


def test_a_huge_line_is_told_of_in_few_words(file: Path) -> None:
    for line in (b'{"prompt": ["' + b"x" * 20_000_000 + b'"]}', b'{"prompt": "' + b"x" * 20_000_000, b"x" * 20_000_000):
        file.write_bytes(line)
        with pytest.raises(DataError, match=r"train\.jsonl, line 1: ") as error:
            JsonlDataset(file)
        assert len(str(error.value)) < 300


def test_the_log_says_which_fields_are_used(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    chat = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    rows = [{"messages": chat, "id": 1}, {"messages": chat, "level": "easy"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with caplog.at_level(logging.INFO):
        examples = JsonlDataset(file, columns={"prompt": "messages"}).examples
    assert examples[0] == {"prompt": chat[:1], "completion": "2", "id": 1}
    (line,) = caplog.messages
    assert line.endswith(
        "train.jsonl, 2 examples: uses prompt, completion; only for verifiers and sources: 'id', 'level'"
    )


def test_a_name_that_no_file_can_have_is_named() -> None:
    with pytest.raises(DataError, match=r"cannot be read as a JSON Lines file \(File name too long\)"):
        JsonlDataset("x" * 300)


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as a JSON Lines file \(Is a directory\)"):
        JsonlDataset(tmp_path)
