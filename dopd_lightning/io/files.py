"""Atomic writes of files and folders, and a one-sentence error for each failed write."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dopd_lightning.errors import WriteError

ADVICE = "make room, or choose another folder"


@contextmanager
def written_whole(path: str | os.PathLike[str], what: str, advice: str = ADVICE) -> Iterator[Path]:
    """Yield a temporary path to write a file at, and move the file to ``path`` once all of it is on the disk.

    A process killed at any moment leaves either the earlier file or the new one.

    Args:
        path: final path of the file; missing folders are created.
        what: name of the content in the error, such as ``the checkpoint``.
        advice: remedy at the end of the error.

    Raises:
        WriteError: if writing fails, such as on a full disk or without permission. The earlier file stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    with says_what_fails(path, what, advice):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            _sync(part)
            part.replace(path)
            _sync(path.parent)
        finally:
            with suppress(OSError):  # nothing to remove where the folder does not exist
                part.unlink()


@contextmanager
def written_whole_folder(folder: str | os.PathLike[str], what: str, advice: str = ADVICE) -> Iterator[Path]:
    """Yield a temporary folder to write files in, and move the files to ``folder`` once all are on the disk.

    Files in ``folder`` with other names stay. Arguments and errors are those of :func:`written_whole`.
    """
    folder = Path(folder).absolute()
    part = folder.with_name(f".{folder.name}.part")
    with says_what_fails(folder, what, advice):
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
            for file in part.rglob("*"):
                _sync(file)
            if folder.exists():
                shutil.copytree(part, folder, copy_function=shutil.move, dirs_exist_ok=True)
            else:
                part.replace(folder)
            _sync(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_whole(path: str | os.PathLike[str], content: str | bytes, what: str) -> None:
    """Write a file atomically, text as UTF-8; see :func:`written_whole`."""
    with written_whole(path, what) as part:
        part.write_bytes(content if isinstance(content, bytes) else in_utf8(content))


def json_line(value: Any) -> bytes:
    """Encode a value as one line of a JSON Lines file."""
    return in_utf8(f"{json.dumps(value, ensure_ascii=False)}\n")


def in_utf8(text: str) -> bytes:
    """Encode a text as UTF-8; lone surrogates, which UTF-8 cannot encode, become JSON escapes (``\\ud83d``)."""
    return text.encode(errors="backslashreplace")


@contextmanager
def says_what_fails(path: str | os.PathLike[str], what: str, advice: str = ADVICE) -> Iterator[None]:
    """Turn an error of a failed write inside the block, also one of torch or safetensors, into a WriteError.

    Raises:
        WriteError: naming ``what`` was written, the path and the reason.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        why = _reason_of_failed_write(error)
        if why is None:
            raise
        raise WriteError(f"{what} {os.fspath(path)!r} could not be written: {why}; {advice}") from error


def _reason_of_failed_write(error: Exception) -> str | None:
    """Return the reason of a failed write, or None for an error of another kind."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error.__context__, OSError):  # torch's writer raises its own error while handling the OSError
        return error.__context__.strerror or str(error.__context__)
    # safetensors and tokenizers are written in Rust: "… I/O error: No space left on device (os error 28)"
    told = re.search(r"([^:]+) \(os error \d+\)", str(error))
    return told.group(1).strip() if told else None


def _sync(path: Path) -> None:
    """Flush the buffers of a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
