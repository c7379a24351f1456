from __future__ import annotations

import json
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
        (b'["a"]', r"expected an object with a 'prompt', found list \['a'\]"),
        (b'{"question": "a"}', "no 'prompt' among the keys 'question'"),
        (b'{"prompt": 5}', "'prompt' must be text or a list of chat messages, found int 5"),
        (b'{"prompt": [{"role": "user"}]}', r"prompt\[0\] needs a 'content' that is text"),
        (b'{"prompt": "a", "privileged": {"b": 1}}', "'privileged' must be text or null, found dict"),
    ],
)
def test_a_bad_line_is_named_by_its_number_in_the_file(file: Path, line: bytes, message: str) -> None:
    file.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    with pytest.raises(DataError, match=rf"train\.jsonl, line 3: {message}"):
        JsonlDataset(file)


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_file_is_an_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.jsonl: no examples; expected one JSON object a line"):
        JsonlDataset(file)


def test_a_missing_file_is_named_with_the_place_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        JsonlDataset("nowhere.jsonl")
    assert str(error.value) == f"nowhere.jsonl: no such file (looked for {tmp_path / 'nowhere.jsonl'})"


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as a JSON Lines file \(Is a directory\)"):
        JsonlDataset(tmp_path)
