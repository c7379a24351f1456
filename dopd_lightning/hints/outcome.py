"""Results of the pipeline: output files, and the number of rows in each."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dopd_lightning.data import Example
from dopd_lightning.hints.reason import Reason
from dopd_lightning.hints.row import Row
from dopd_lightning.hints.writer import Tokens
from dopd_lightning.io.files import json_line, write_whole

HINTS, DROPPED, REPORT = "hints.jsonl", "dropped.jsonl", "report.json"
NO_ANSWER, NOT_WRITTEN = "no_answer", "not_written"


@dataclass
class Report:
    """Totals over all runs on one journal.

    Attributes:
        kind: of the hints.
        rows: in the input.
        kept: with a hint that passed.
        dropped: whose hints were all turned down.
        failed: that got no usable reply; the same command tries them again.
        hints: that were written.
        reasons: how many hints were turned down for what; one hint may have several reasons.
        answer_unknown: rows whose final answer is not known, so that nobody looked for it in the hint.
        tokens: read and written by the model, as far as it says.
    """

    kind: str
    rows: int = 0
    kept: int = 0
    dropped: int = 0
    failed: int = 0
    hints: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    answer_unknown: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: Tokens()._asdict())

    @property
    def share(self) -> float:
        """The yield: of the rows, how many are kept."""
        return self.kept / self.rows

    def print(self, folder: Path) -> None:
        """The table at the end of a run."""
        table = Table(title=f"{self.kept} of {self.rows} rows have a hint: {self.kind}", show_header=False)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        table.add_row("yield", f"{self.share:.1%}")
        for name in ("dropped", "failed"):
            if getattr(self, name):
                table.add_row(name, f"{getattr(self, name)} rows")
        for name, count in self.reasons.items():
            table.add_row(name.replace("_", " "), f"{count} of {self.hints} hints")
        if self.answer_unknown:
            table.add_row("answer unknown", f"{self.answer_unknown} rows, whose hints may contain it")
        if any(self.tokens.values()):
            table.add_row("tokens", f"{self.tokens['prompt']:,} read, {self.tokens['completion']:,} written")
        for name in (HINTS, DROPPED, REPORT):
            table.add_row(name, os.path.relpath(folder / name))
        Console(markup=False, emoji=False).print(table)  # names of folders are no markup


def remove_results(folder: Path) -> None:
    """Remove the results of an earlier run: while rows are being processed, only the journal tells their state."""
    for name in (REPORT, HINTS, DROPPED):
        (folder / name).unlink(missing_ok=True)


def write_results(folder: Path, kind: str, rows: Sequence[Row], answer_unknown: int) -> Report:
    """Put each row into one of two files, in order, and count. A file is there whole or not at all, the hints last."""
    report = Report(kind, rows=len(rows), answer_unknown=answer_unknown)
    kept: list[Example] = []
    dropped: list[dict[str, Any]] = []
    for row in rows:
        report.hints += len(row.attempts)
        report.tokens = (Tokens(**report.tokens) + row.tokens)._asdict()
        if row.failure is None and row.hint is not None:
            kept.append({**row.example, "privileged": row.hint or None})
        elif row.failure is None:
            report.dropped += 1
            dropped.append(_dropped(row, "dropped"))
        else:
            report.failed += 1
            dropped.append(_dropped(row, "failed"))
    report.kept = len(kept)
    reasons = Counter(reason.name for row in rows for attempt in row.attempts for reason in attempt.reasons)
    report.reasons = dict(reasons.most_common())
    write_whole(folder / DROPPED, b"".join(map(json_line, dropped)), "the rows without a hint")
    write_whole(folder / HINTS, b"".join(map(json_line, kept)), "the hints")
    summary = {**asdict(report), "yield": report.share}
    write_whole(folder / REPORT, json.dumps(summary, indent=2) + "\n", "the report")
    return report


def _dropped(row: Row, status: str) -> dict[str, Any]:
    """A row without a hint: every hint that it had, with what was wrong with it, and what failed."""
    attempts = [
        {"hint": attempt.hint, "reasons": [reason._asdict() for reason in attempt.reasons]} for attempt in row.attempts
    ]
    reasons = attempts[-1]["reasons"] if attempts else []
    if row.failure is not None:
        reasons = [Reason(NOT_WRITTEN, row.failure)._asdict()]
    return {"row": row.index, "status": status, "reasons": reasons, "attempts": attempts, "example": row.example}
