"""The three text datasets that the paper trains on, read in their formats on the Hub.

They have no privileged text; ``stage=privilege`` writes it. ``docs/paper.md`` describes the formats.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dopd_lightning.data.example import shortened
from dopd_lightning.data.hub import HubDataset
from dopd_lightning.errors import DataError

log = logging.getLogger(__name__)


class PaperSet(HubDataset):
    """Dataset of the paper, with only the first of the rows that have the same prompt.

    (All three datasets repeat some prompts; DAPO-Math-17K repeats each of them.) Examples have a ``prompt`` (chat
    messages), an ``answer`` and a ``completion`` if the dataset has them, and a ``source``, the name of the dataset.

    Args:
        path: dataset on the Hub, or format of local files (``parquet``, ``json``).
        split, data_files, revision: as in :class:`HubDataset`.

    Raises:
        ConfigError, DataError: as :class:`HubDataset`; also for a row in another format, with its number.
    """

    prompt_column: ClassVar[str]

    def __init__(
        self,
        path: str,
        split: str,
        data_files: str | Sequence[str] | Mapping[str, str] | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__(path, split, data_files=data_files, revision=revision)
        log.info("%s: %d rows, %d different prompts", self.where, len(self.rows), len(self))

    def _kept_rows(self) -> Sequence[int]:
        if self.prompt_column not in self.rows.column_names:
            raise DataError(
                f"{self.where}: no column {self.prompt_column!r} among {', '.join(map(repr, self.rows.column_names))}; "
                f"is this the dataset that {type(self).__name__} reads?"
            )
        batches = self.rows.select_columns([self.prompt_column]).iter(batch_size=1000)
        prompts = (prompt for batch in batches for prompt in batch[self.prompt_column])
        first: dict[str, int] = {}
        for number, prompt in enumerate(prompts):
            first.setdefault(repr(prompt), number)
        return list(first.values())


class RaRScience(PaperSet):
    """RaR-Science-20K: science questions with a reference answer in words, used as ``answer`` and ``completion``.

    (Its rubrics are not used.) Arguments and errors are those of :class:`HubDataset`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.jsonl")
        ...     _ = path.write_text('{"question": "What boils at 100 °C?", "reference_answer": "Water."}', "utf-8")
        ...     print(RaRScience("json", "train", data_files=str(path))[0]["completion"])
        Water.
    """

    prompt_column = "question"

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        reference = _text(row, where, "reference_answer")
        return {
            "prompt": [{"role": "user", "content": _text(row, where, "question")}],
            "answer": reference,
            "completion": reference,
            "source": "rar_science",
        }


class DAPOMath(PaperSet):
    """DAPO-Math-17K: math problems whose answer is a whole number; prompts ask for a last line ``Answer: …``.

    Arguments and errors are those of :class:`HubDataset`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> row = '{"prompt": [{"role": "user", "content": "What is 3 · 7?"}], "reward_model": {"ground_truth": "21"}}'
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.jsonl")
        ...     _ = path.write_text(f"{row}\\n{row}", "utf-8")
        ...     [example["answer"] for example in DAPOMath("json", "train", data_files=str(path))]  # no repetition
        ['21']
    """

    prompt_column = "prompt"

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        return {
            "prompt": row["prompt"],
            "answer": _text(row, where, "reward_model", "ground_truth"),
            "source": "dapo_math",
        }


class SkyworkCode(PaperSet):
    """Skywork-OR1-Coding-14K: programming problems, in ``split="code"``, without answers.

    (Their tests are not used: nothing here runs programs.) Arguments and errors are those of :class:`HubDataset`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> row = '{"prompt": [{"role": "user", "content": "Write a sort function."}], "ability": "code"}'
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.jsonl")
        ...     _ = path.write_text(row)
        ...     print(SkyworkCode("json", "code", data_files={"code": str(path)})[0]["source"])
        skywork_code
    """

    prompt_column = "prompt"

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        if row.get("ability") != "code":
            raise DataError(f"{where}: 'ability' must be 'code', found {shortened(row.get('ability'))}; use split=code")
        return {"prompt": row["prompt"], "source": "skywork_code"}


def _text(row: Mapping[str, Any], where: str, *names: str) -> str:
    """Return the text at a place in a row.

    Raises:
        DataError: if there is no text, or only whitespace.
    """
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {'.'.join(names)!r} must be text, found {shortened(value)}")
    return value
