from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dopd_lightning.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets")

from dopd_lightning.data.hub import HubDataset  # noqa: E402
from dopd_lightning.data.prompt_format import PromptFormat  # noqa: E402

ROWS = '{"question": "1 + 1?", "label": 2}\n{"question": "2 + 2?", "label": 4}\n{"question": null, "label": 6}\n'
COLUMNS = {"prompt": "question", "answer": "label"}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    return str(tmp_path / "rows.jsonl")


def test_rows_of_a_json_file_are_examples(file: str) -> None:
    dataset = HubDataset("json", "train[:2]", columns=COLUMNS, data_files=file)
    assert [dataset[n] for n in range(len(dataset))] == [
        {"prompt": "1 + 1?", "answer": 2},
        {"prompt": "2 + 2?", "answer": 4},
    ]


def test_rows_of_a_parquet_file_with_chats_are_examples(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 1?"}]
    datasets.Dataset.from_list([{"prompt": chat, "privileged": "2"}]).to_parquet(tmp_path / "rows.parquet")
    dataset = HubDataset("parquet", "test", data_files={"test": str(tmp_path / "rows.parquet")})
    assert dataset[0] == {"prompt": chat, "privileged": "2"}


def test_a_bad_row_is_named_when_it_is_read(file: str) -> None:
    dataset = HubDataset("json", "train", columns=COLUMNS, data_files=file)
    with pytest.raises(DataError, match=r"json, split 'train', row 2: 'prompt' must be text .* found null"):
        dataset[2]


@pytest.mark.parametrize("question", ["", " \n"])
def test_a_blank_prompt_is_named_before_training(tmp_path: Path, tokenizer: Any, question: str) -> None:
    datasets.Dataset.from_dict({"prompt": ["1 + 1?", question]}).to_parquet(tmp_path / "rows.parquet")
    dataset = HubDataset("parquet", "train", data_files=str(tmp_path / "rows.parquet"))
    with pytest.raises(DataError, match=r"parquet, split 'train', row 1: 'prompt' is (empty|blank)"):
        PromptFormat().select(dataset, tokenizer, "train")


def test_a_pipe_is_refused_and_the_log_says_which_fields_are_used(
    tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: it is a named pipe"):
        HubDataset("json", "train", data_files=[str(tmp_path / "pipe")])
    with caplog.at_level(logging.INFO):
        HubDataset("json", "train[:2]", columns={"prompt": "question"}, data_files=file)
    assert (
        "json, split 'train[:2]', 2 examples: uses prompt; only for verifiers and sources: 'label'" in caplog.messages
    )


def test_a_missing_column_is_named_when_the_dataset_is_opened(file: str) -> None:
    with pytest.raises(DataError, match="json, split 'train', row 0: no 'prompt' among the keys 'question', 'label'"):
        HubDataset("json", "train", data_files=file)
    with pytest.raises(DataError, match=r"row 0: no 'q' \(for 'prompt'\) among"):
        HubDataset("json", "train", columns={"prompt": "q"}, data_files=file)


@pytest.mark.parametrize(
    ("split", "files", "message"),
    [("test", "rows.jsonl", "test"), ("train", "none.jsonl", "none.jsonl"), ("train[:0]", "rows.jsonl", "no data")],
)
def test_what_cannot_be_loaded_is_named(file: str, split: str, files: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        HubDataset("json", split, columns=COLUMNS, data_files=str(Path(file).with_name(files)))
    assert str(error.value).startswith(f"json, split {split!r}: ")
    assert message in str(error.value)


def test_a_split_without_rows_is_an_error(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"prompt": []}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"parquet, split 'train': cannot be loaded .*no data"):
        HubDataset("parquet", "train", data_files=str(tmp_path / "rows.parquet"))


def test_a_dataset_that_is_not_on_this_machine_is_an_error_offline() -> None:
    with pytest.raises(DataError, match=r"nobody/nothing \(main\), split 'train': cannot be loaded"):
        HubDataset("nobody/nothing", "train", name="main")


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[hub\]'"):
        HubDataset("json", "train")
