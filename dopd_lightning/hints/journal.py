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
_MAKE_ROOM = "make room, and go on with the same command and this paths.output_dir"
_ELSEWHERE = "go on with what it had, or start afresh in another folder"


class Journal:
    """JSON Lines: a header with the settings and the number of rows, then records, each of one row.

    A record is written in one go before anything else happens. A process that is killed, whenever that is, leaves at
    most half a line at the end, which the next one cuts off.

    Attributes:
        records: what was there when it was opened.
    """

    def __init__(self, path: Path, file: Any, records: list[dict[str, Any]]) -> None:
        self.path, self._file, self.records = path, file, records

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, past all buffers of this process.

        Raises:
            WriteError: if there is no room for it; the records before are there.
        """
        with says_what_fails(self.path, "a record of the journal", _MAKE_ROOM):
            line = json_line(record)
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def open_journal(path: Path, settings: Mapping[str, Any], digests: Sequence[str]) -> Iterator[Journal]:
    """A new journal, or one to go on with; for this process alone, as long as the block lasts.

    Args:
        path: of the file.
        settings: whatever decides what is written, as JSON has it.
        digests: of the rows, in order.

    Raises:
        ConfigError: for a journal of other settings, or that another process is writing to.
        DataError: for a journal of other rows, or a file that is none.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"paths.output_dir: another process is at work in {path.parent}; wait, or choose another"
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
    """The records, after cutting off half a line at the end."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        log.warning("%s: cut off half a record at its end, which a process that was killed had left", path)
        os.truncate(path, len(whole))
    records = []
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            record["row" if number > 1 else "journal"]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{path}, line {number}: no record of a journal, found {line[:60].decode('utf-8', 'replace')!r}; "
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
        raise DataError(f"{path}: was started with {before['rows']} rows, and the data has {now['rows']}; {_ELSEWHERE}")
    for record in records:
        row = record["row"]
        if not 0 <= row < len(digests) or record["digest"] != digests[row]:
            raise DataError(f"data.train[{row}]: not the row that {path} has a hint for; {_ELSEWHERE}")
    if before["input"] != now["input"]:
        raise DataError(f"data.train: not the rows that {path} was started with, though as many; {_ELSEWHERE}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
