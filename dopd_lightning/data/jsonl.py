"""Examples from a JSON Lines file, with one JSON object per line."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from dopd_lightning.data.example import Example, check_characters, check_columns, check_example, rename_columns
from dopd_lightning.data.fields import log_fields
from dopd_lightning.data.files import check_regular
from dopd_lightning.errors import DataError

_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it",
    b"PAR1": "a Parquet file; read it with data=hub, path=parquet and data_files=…",
}
"""Name and remedy of other file formats, by the first bytes of a file."""


class JsonlDataset(Dataset[Example]):
    """Examples of a JSON Lines file, all read and checked when the dataset is created. Blank lines are skipped.

    Args:
        path: file in UTF-8.
        columns: mapping ``our field -> key``, such as ``{"prompt": "question"}``. Other keys are kept.

    Raises:
        ConfigError: if ``columns`` names a field that an example does not have.
        DataError: if the file is missing, unreadable or empty, or a line is not a valid example (with its number).

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "sums.jsonl")
        ...     _ = path.write_text('{"question": "1 + 1 = ?", "answer": 2}')
        ...     print(JsonlDataset(path, columns={"prompt": "question"})[0])
        {'answer': 2, 'prompt': '1 + 1 = ?'}
    """

    def __init__(self, path: str | Path, columns: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        names = check_columns(columns)
        lines = enumerate(_read(self.path).split(b"\n"), start=1)
        self.examples = [_parse(line, names, f"{path}, line {n}") for n, line in lines if line.strip()]
        if not self.examples:
            raise DataError(f"{path}: no examples; expected one JSON object per line, each with a 'prompt'")
        log_fields(f"{path}, {len(self.examples)} examples", (name for example in self.examples for name in example))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def _read(path: Path) -> bytes:
    check_regular(path)
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file (looked for {path.absolute()})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a JSON Lines file ({error.strerror})") from error
    for beginning, found in _OTHER_FORMATS.items():
        if content.startswith(beginning):
            raise DataError(f"{path}: expected JSON Lines in UTF-8, found {found}")
    if b"\0" in content[:4]:
        raise DataError(
            f"{path}: expected JSON Lines in UTF-8, found {content[:4]!r} at its start; is it UTF-16 or UTF-32?"
        )
    return content


def _parse(line: bytes, columns: Mapping[str, str], where: str) -> Example:
    try:
        raw = _JSON.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 (byte {line[error.start]:#04x} at position {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}), found {line[:60].decode('utf-8', 'replace')!r}") from None
    if b"\\u" in line:
        check_characters(raw, where)
    return check_example(rename_columns(raw, columns, where), where)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:60]} is too large")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number; use null")


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_no_number)
