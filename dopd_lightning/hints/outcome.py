"""Results of the pipeline: output files, and a report with totals."""

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
    """Totals over all runs with one journal.

    Attributes:
        kind: kind of the hints.
        rows: number of rows in the input.
        kept: rows with a hint that passed.
        dropped: rows whose hints were all rejected.
        failed: rows without a usable reply; the same command tries them again.
        hints: number of hints that were written.
        reasons: number of rejected hints by reason; a hint may have several reasons.
        answer_unknown: rows without a known final answer, whose hints were not checked for it.
        tokens: tokens read and written by the model, if it reports them.

    Example:
        >>> Report("steps", rows=4, kept=3, dropped=1, hints=5).share
        0.75
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
        """Yield: share of the rows that are kept."""
        return self.kept / self.rows

    def print(self, folder: Path) -> None:
        """Print the table at the end of a run."""
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
        Console(markup=False, emoji=False).print(table)  # names of folders may look like markup


def remove_results(folder: Path) -> None:
    """Remove the results of an earlier run: until this run ends, only the journal is valid."""
    for name in (REPORT, HINTS, DROPPED):
        (folder / name).unlink(missing_ok=True)


def write_results(folder: Path, kind: str, rows: Sequence[Row], answer_unknown: int) -> Report:
    """Write each row to one of two files, in order, then the report, each file atomically; return the report."""
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
    """Return the record of a row without a hint: its rejected hints, with reasons, and its failure."""
    attempts = [
        {"hint": attempt.hint, "reasons": [reason._asdict() for reason in attempt.reasons]} for attempt in row.attempts
    ]
    reasons = attempts[-1]["reasons"] if attempts else []
    if row.failure is not None:
        reasons = [Reason(NOT_WRITTEN, row.failure)._asdict()]
    return {"row": row.index, "status": status, "reasons": reasons, "attempts": attempts, "example": row.example}
