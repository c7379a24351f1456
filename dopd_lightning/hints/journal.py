"""Append-only record of a run's work, from which the next run resumes."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.io.files import json_line, says_what_fails
from dopd_lightning.io.flat import flat

log = logging.getLogger(__name__)

_FORMAT = 1
_MAKE_ROOM = "make room, and repeat the command with the same paths.output_dir"
_ELSEWHERE = "use the same as before, or start afresh in another folder"


class Journal:
    """JSON Lines file: a header with the settings and the number of rows, then records of single rows.

    Each record is written at once, before anything else happens. A killed process leaves at most one incomplete line,
    at the end, which the next process removes.

    Attributes:
        records: records that the file had when it was opened.
    """

    def __init__(self, path: Path, file: Any, records: list[dict[str, Any]]) -> None:
        self.path, self._file, self.records = path, file, records

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, without buffering in this process.

        Raises:
            WriteError: if the record cannot be written; earlier records stay.
        """
        with says_what_fails(self.path, "a record of the journal", _MAKE_ROOM):
            line = json_line(record)
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def open_journal(path: Path, settings: Mapping[str, Any], digests: Sequence[str]) -> Iterator[Journal]:
    """Open a new or an existing journal, and keep other processes out inside the block.

    Args:
        path: path of the file.
        settings: settings that determine the hints, as values that JSON can encode.
        digests: digests of the rows, in order.

    Raises:
        ConfigError: if the journal has other settings, or another process is writing to it.
        DataError: if the journal has other rows, or the file is not a journal.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"paths.output_dir: another process is writing to {path.parent}; wait, or choose another folder"
        ) from None
    try:
        records = _read(path)
        header = {
            "journal": _FORMAT,
            "settings": json.loads(json.dumps(settings)),
            "rows": len(digests),
            "input": hashlib.sha256("".join(digests).encode()).hexdigest(),
        }
        if records:
            _check_header(path, records[0], header)
            _check_rows(path, records[0], header, records[1:], digests)
        with path.open("ab", buffering=0) as file:
            journal = Journal(path, file, records[1:])
            if not records:
                journal.append(header)
            yield journal
            with says_what_fails(path, "the journal", _MAKE_ROOM):
                os.fsync(file.fileno())
    finally:
        lock.release()


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the records, after removing an incomplete line at the end."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        log.warning("%s: removed an incomplete record at its end, left by a killed process", path)
        os.truncate(path, len(whole))
    records = []
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            record["row" if number > 1 else "journal"]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{path}, line {number}: not a record of a journal, found {line[:60].decode('utf-8', 'replace')!r}; "
                "start afresh in another folder"
            ) from None
        records.append(record)
    return records


def _check_header(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before["journal"] != now["journal"]:
        raise DataError(f"{path}: written by another version of this program; start afresh in another folder")
    then, wanted = dict(flat(before["settings"])), dict(flat(now["settings"]))
    for key in [*wanted, *then]:
        if wanted.get(key) != then.get(key):
            raise ConfigError(
                f"privilege.{key}: {_short(wanted.get(key))}, but {path} was started with {_short(then.get(key))}; "
                f"{_ELSEWHERE}"
            )


def _check_rows(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], records: Sequence[Any], digests: Sequence[str]
) -> None:
    if before["rows"] != now["rows"]:
        raise DataError(f"{path}: was started with {before['rows']} rows, but the data has {now['rows']}; {_ELSEWHERE}")
    for record in records:
        row = record["row"]
        if not 0 <= row < len(digests) or record["digest"] != digests[row]:
            raise DataError(f"data.train[{row}]: not the row that {path} has a hint for; {_ELSEWHERE}")
    if before["input"] != now["input"]:
        raise DataError(f"data.train: not the rows that {path} was started with, but the same number; {_ELSEWHERE}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
