"""Examples from a JSON Lines file: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch.utils.data import Dataset

from dopd_lightning.data.example import Example, check_columns, check_example, rename_columns
from dopd_lightning.errors import DataError


class JsonlDataset(Dataset[Example]):
    """The examples of a JSON Lines file, read and checked as a whole when it is opened. Blank lines are skipped.

    Args:
        path: the file, in UTF-8.
        columns: renaming ``our field -> their column``, such as ``{"prompt": "question"}``. Other columns are kept.

    Raises:
        ConfigError: if ``columns`` names a field that an example does not have.
        DataError: if the file is missing, unreadable or empty, or a line is not a valid example (with its number).
    """

    def __init__(self, path: str | Path, columns: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        names = check_columns(columns)
        lines = enumerate(_read(self.path).split(b"\n"), start=1)
        self.examples = [_parse(line, names, f"{path}, line {n}") for n, line in lines if line.strip()]
        if not self.examples:
            raise DataError(f"{path}: no examples; expected one JSON object a line, each with a 'prompt'")

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file (looked for {path.absolute()})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a JSON Lines file ({error.strerror})") from error


def _parse(line: bytes, columns: Mapping[str, str], where: str) -> Example:
    try:
        raw = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 (byte {line[error.start]:#04x} at position {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}), found {line[:60].decode('utf-8', 'replace')!r}") from None
    return check_example(rename_columns(raw, columns, where), where)
