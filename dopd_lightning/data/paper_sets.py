"""The three text sets that the paper trains on, each read in the format that it has on the Hub.

They come without privileged text; ``stage=privilege`` writes it. Their formats are described in ``docs/paper.md``.
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
    """Rows of one of the sets, the first with each prompt alone: all three repeat some, DAPO-Math-17K each of them.

    Examples have a ``prompt`` (chat messages), ``answer`` and ``completion`` where the set has them, and a ``source``,
    which says where an example is from after the sets are mixed.

    Args:
        path: the set on the Hub, or a format of local files (``parquet``, ``json``).
        split: as in :class:`HubDataset`, as are the others.

    Raises:
        ConfigError, DataError: as :class:`HubDataset`; for a row that is not in the set's format, with its number.
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
                f"is it the set that {type(self).__name__} reads?"
            )
        batches = self.rows.select_columns([self.prompt_column]).iter(batch_size=1000)
        prompts = (prompt for batch in batches for prompt in batch[self.prompt_column])
        first: dict[str, int] = {}
        for number, prompt in enumerate(prompts):
            first.setdefault(repr(prompt), number)
        return list(first.values())


class RaRScience(PaperSet):
    """RaR-Science-20K: questions of science, each with a reference answer in words, which is the completion as well.

    (Its rubrics are left out.)
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
    """DAPO-Math-17K: problems with a whole number as answer, asked for on a last line ``Answer: …``."""

    prompt_column = "prompt"

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        return {
            "prompt": row["prompt"],
            "answer": _text(row, where, "reward_model", "ground_truth"),
            "source": "dapo_math",
        }


class SkyworkCode(PaperSet):
    """Skywork-OR1-Coding-14K: programming problems. (Their tests are left out: nothing here runs programs.)"""

    prompt_column = "prompt"

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        if row.get("ability") != "code":
            raise DataError(f"{where}: 'ability' must be 'code', found {shortened(row.get('ability'))}; use split=code")
        return {"prompt": row["prompt"], "source": "skywork_code"}


def _text(row: Mapping[str, Any], where: str, *names: str) -> str:
    """The text at a place in a row.

    Raises:
        DataError: if there is none, or no text but blanks.
    """
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {'.'.join(names)!r} must be text, found {shortened(value)}")
    return value
