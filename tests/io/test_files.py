"""Files on a disk that has no room: what was there stays, nothing half is left, and a sentence says so."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dopd_lightning.errors import WriteError
from dopd_lightning.io.files import json_line, write_whole, written_whole, written_whole_folder
from dopd_lightning.training.checkpoint_file import WholeCheckpointIO


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond this many bytes, with the disk's own error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


TENSORS = {"a": torch.rand(10_000)}


def by_python(path):
    write_whole(path, "text" * 10_000, "the text")


def by_numpy(path):
    with written_whole(path, "the map") as part, part.open("wb") as file:
        np.savez_compressed(file, a=TENSORS["a"].numpy())


def by_torch(path):
    WholeCheckpointIO().save_checkpoint(TENSORS, path)


def by_safetensors(path):
    with written_whole(path, "the weights") as part:
        save_file(TENSORS, part)


@pytest.mark.parametrize("write", [by_python, by_numpy, by_torch, by_safetensors])
def test_on_a_full_disk_what_was_there_stays(write, tmp_path):
    path = tmp_path / "new" / "file"
    write(path)
    before = path.read_bytes()
    with room_for(1000), pytest.raises(WriteError, match=rf"^the \w+ '{path}' could not be written: File too large; "):
        write(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"the text .*/file/x' could not be written: (Not a directory|File exists); m"):
        write_whole(tmp_path / "file" / "x", "", "the text")


@pytest.mark.parametrize("size", [500, 2000, 20_000])
def test_a_folder_is_whole_and_leaves_what_else_is_there(size, tmp_path, make_policy, tokenizer):
    """The first file that has no room is the configuration, the weights or the tokenizer."""

    def write():
        with written_whole_folder(tmp_path / "student", "the student") as part:
            tokenizer.save_pretrained(part)
            make_policy().save_pretrained(part)

    with (
        room_for(size),
        pytest.raises(WriteError, match=r"^the student '.*/student' could not be written: File too lar"),
    ):
        write()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "README.md").write_text("mine")
    write()
    assert {"README.md", "config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "student").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_errors_of_another_kind_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match=r"^not the disk$"), written_whole(tmp_path / "x", "the text"):
        raise RuntimeError("not the disk")


def test_lines_are_readable_where_there_is_utf8_for_it(tmp_path):
    assert json_line({"a": "汉字"}) == '{"a": "汉字"}\n'.encode()
    assert json_line({"a": "汉\ud83d"}) == '{"a": "汉\\ud83d"}\n'.encode()
    assert json_line({"a": "\n\r\u2028"}).count(b"\n") == 1
    write_whole(tmp_path / "x.json", json.dumps("汉\ud83d", ensure_ascii=False), "the text")
    assert json.loads((tmp_path / "x.json").read_bytes()) == "汉\ud83d"
