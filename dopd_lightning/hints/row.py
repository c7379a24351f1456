"""A row on its way to a hint, as far as the journal tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dopd_lightning.data import Example
from dopd_lightning.hints.reason import Reason
from dopd_lightning.hints.writer import Failure, Tokens


@dataclass
class Attempt:
    """A hint that was written, with what is wrong with it; ``judged`` once the judge has seen it."""

    hint: str
    reasons: list[Reason]
    judged: bool = False


@dataclass
class Row:
    """One example.

    Attributes:
        index: its place in the input.
        example: what was read.
        digest: of its content.
        attempts: what was written for it so far; only the last may be good.
        failure: why there was no usable reply when last asked.
        tokens: that it took altogether.
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
        """The one that passed, if one did; it may still be for the judge to see."""
        last = self.attempts[-1] if self.attempts else None
        return None if last is None or last.reasons else last.hint

    def is_for_writer(self, attempts: int) -> bool:
        """Return whether another hint is needed and attempts are left."""
        return self.failure is None and self.hint is None and len(self.attempts) < attempts

    def is_for_judge(self) -> bool:
        """Return whether the hint passed all other checks and is not judged yet."""
        return self.failure is None and self.hint is not None and not self.attempts[-1].judged

    # What happens to a row happens by these records, now and when a journal is read again.

    def written(self, hint: str, reasons: list[Reason], tokens: Tokens) -> dict[str, Any]:
        """The record of an attempt."""
        return self._record(hint=hint, reasons=[reason._asdict() for reason in reasons], tokens=tokens)

    def judged(self, reason: Reason | None, tokens: Tokens) -> dict[str, Any]:
        """The record of a verdict on the last attempt."""
        return self._record(verdict=None if reason is None else reason._asdict(), tokens=tokens)

    def failed(self, failure: Failure) -> dict[str, Any]:
        """The record of a failure."""
        return self._record(failure=failure.sentence, tokens=failure.tokens)

    def _record(self, **what: Any) -> dict[str, Any]:
        return {"row": self.index, "digest": self.digest, **what}

    def apply(self, record: Mapping[str, Any]) -> None:
        """Let what a record says be so."""
        self.tokens += tuple(record["tokens"])
        self.failure = record.get("failure")
        if "hint" in record:
            self.attempts.append(Attempt(record["hint"], [Reason(**reason) for reason in record["reasons"]]))
        if "verdict" in record:
            self.attempts[-1].judged = True
            if record["verdict"] is not None:
                self.attempts[-1].reasons.append(Reason(**record["verdict"]))
