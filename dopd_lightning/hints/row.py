"""State of a row and its hints, by the records of the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dopd_lightning.data import Example
from dopd_lightning.hints.reason import Reason
from dopd_lightning.hints.writer import Failure, Tokens


@dataclass
class Attempt:
    """Hint that was written, with the reasons against it; ``judged`` if the judge has read it."""

    hint: str
    reasons: list[Reason]
    judged: bool = False


@dataclass
class Row:
    """Example with its hints so far.

    Attributes:
        index: index in the input.
        example: example from the input.
        digest: digest of the example.
        attempts: hints written so far; only the last may have passed.
        failure: reason why the last request brought no usable reply.
        tokens: tokens used so far.
    """

    index: int
    example: Example
    digest: str
    attempts: list[Attempt] = field(default_factory=list)
    failure: str | None = None
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def where(self) -> str:
        """Name of the row in errors."""
        return f"data.train[{self.index}]"

    @property
    def hint(self) -> str | None:
        """Hint that passed the checks, if there is one; the judge may not have read it yet."""
        last = self.attempts[-1] if self.attempts else None
        return None if last is None or last.reasons else last.hint

    def is_for_writer(self, attempts: int) -> bool:
        """Return whether another hint is needed and attempts are left."""
        return self.failure is None and self.hint is None and len(self.attempts) < attempts

    def is_for_judge(self) -> bool:
        """Return whether the hint passed all other checks and is not judged yet."""
        return self.failure is None and self.hint is not None and not self.attempts[-1].judged

    # Only these records change a row, both during a run and when a journal is read.

    def written(self, hint: str, reasons: list[Reason], tokens: Tokens) -> dict[str, Any]:
        """Return the record of an attempt."""
        return self._record(hint=hint, reasons=[reason._asdict() for reason in reasons], tokens=tokens)

    def judged(self, reason: Reason | None, tokens: Tokens) -> dict[str, Any]:
        """Return the record of a verdict on the last attempt."""
        return self._record(verdict=None if reason is None else reason._asdict(), tokens=tokens)

    def failed(self, failure: Failure) -> dict[str, Any]:
        """Return the record of a failure."""
        return self._record(failure=failure.sentence, tokens=failure.tokens)

    def _record(self, **what: Any) -> dict[str, Any]:
        return {"row": self.index, "digest": self.digest, **what}

    def apply(self, record: Mapping[str, Any]) -> None:
        """Update the row by a record."""
        self.tokens += tuple(record["tokens"])
        self.failure = record.get("failure")
        if "hint" in record:
            self.attempts.append(Attempt(record["hint"], [Reason(**reason) for reason in record["reasons"]]))
        if "verdict" in record:
            self.attempts[-1].judged = True
            if record["verdict"] is not None:
                self.attempts[-1].reasons.append(Reason(**record["verdict"]))
