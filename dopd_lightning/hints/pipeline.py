"""Pipeline from rows to hints: write, check, rewrite, judge; each step is in the journal before the next begins."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from dopd_lightning.data import Example
from dopd_lightning.data.tasks import general_hint
from dopd_lightning.errors import ConfigError, DataError, EngineError, check_choice, check_range
from dopd_lightning.hints.checks import ANY_LANGUAGE, checks_for, reasons_against
from dopd_lightning.hints.journal import Journal, open_journal
from dopd_lightning.hints.judge import read_verdict
from dopd_lightning.hints.kinds import KINDS
from dopd_lightning.hints.leaks import COMMON_NUMBERS
from dopd_lightning.hints.outcome import NO_ANSWER, Report, remove_results, write_results
from dopd_lightning.hints.question import answer_of
from dopd_lightning.hints.reason import Reason
from dopd_lightning.hints.row import Row
from dopd_lightning.hints.template import JUDGE_PLACEHOLDERS, WRITER_PLACEHOLDERS, Template
from dopd_lightning.hints.writer import Failure, Tokens, Write, Writer

log = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"


@dataclass(kw_only=True)
class HintPipeline:
    """Writes privileged information of one kind for a set of examples, and keeps what passes the checks.

    Args:
        writer: a chat model; the kinds ``answer`` and ``none`` do without.
        kind: of :data:`~dopd_lightning.data.tasks.HINT_KINDS`.
        template: what the writer is asked: a template of the package by name, or the path of a Jinja file; ``None`` for
            the one that is called after the kind.
        judge: the same for what the writer is asked about each hint that passed the other checks (``judge`` is in the
            package); ``None`` asks nothing.
        attempts: hints that are written for a row at most, until one passes.
        max_words: longest hint; ``None`` for what suits the kind.
        language: that hints have to be in, by its ISO 639 code; ``None`` for the question's own, ``any`` for no check.
        allowed_numbers: that no check takes for a result, though the question does not give them.
        give_up_after: rows that fail one after the other before the run stops, since the next ones would as well.

    Raises:
        ConfigError: for settings that cannot work.
    """

    writer: Writer | None = None
    kind: str = "steps"
    template: str | None = None
    judge: str | None = None
    attempts: int = 1
    max_words: int | None = None
    language: str | None = None
    allowed_numbers: Collection[float] = COMMON_NUMBERS
    give_up_after: int = 50

    def __post_init__(self) -> None:
        kind = self._kind = KINDS[check_choice("kind", self.kind, KINDS)]
        check_range("attempts", self.attempts, at_least=1)
        check_range("give_up_after", self.give_up_after, at_least=1)
        if self.max_words is not None:
            check_range("max_words", self.max_words, at_least=1)
        for number in self.allowed_numbers:
            if type(number) not in (int, float):
                raise ConfigError(f"allowed_numbers: {number!r} is no number")
        if not kind.written:
            return
        self._template = Template(
            self.template or kind.name, "template", known=WRITER_PLACEHOLDERS, needed=("question",)
        )
        self._judge = None
        if self.judge is not None:
            self._judge = Template(self.judge, "judge", known=JUDGE_PLACEHOLDERS, needed=("question", "hint"))
        self._checks = checks_for(
            kind, max_words=self.max_words, language=self.language, allowed_numbers=self.allowed_numbers
        )

    def run(self, examples: Sequence[Example], folder: Path, progress: Progress | None = None) -> Report:
        """Write a hint for each example; go on where an earlier run in ``folder`` has stopped.

        What is left there: ``hints.jsonl``, examples with ``privileged``, in order; ``dropped.jsonl``, all others, with
        what was wrong; ``report.json``; and the journal.

        Args:
            examples: each of which ends in exactly one of the two files.
            folder: is there.
            progress: shows how far it is.

        Raises:
            ConfigError: if the writer cannot be reached or lets nobody in, or the journal is of other settings.
            DataError: if an example lacks what the template needs, or the journal is of other examples.
            EngineError: if nothing but failures comes any more; what there is by then is in the files.
        """
        rows = [Row(index, example, _digest(example, index)) for index, example in enumerate(examples)]
        if not rows:
            raise DataError("data.train: there are no rows")
        if self.kind == "answer" and all(answer_of(row.example) is None for row in rows):
            raise DataError(
                f"data.train: none of {len(rows)} rows has an 'answer', or a 'completion' that marks one, which "
                "kind=answer gives away; columns={answer: …} says where it is"
            )
        if self._kind.written:
            for row in rows:  # before anything is paid for
                self._message(row)
                if self._judge is not None:
                    self._message(row, "")
        with open_journal(folder / JOURNAL, self._settings(), [row.digest for row in rows]) as journal:
            for record in journal.records:
                rows[record["row"]].apply(record)
            for row in rows:
                row.failure = None  # to be tried again
            if journal.records:
                log.info("%s: going on after %d records", journal.path, len(journal.records))
            remove_results(folder)
            if not self._kind.written:
                for row in rows:
                    self._give(row)
            elif self._for_judge(rows) or self._for_writer(rows):
                assert self.writer is not None, "_settings checks"
                with self.writer.open() as write:
                    try:
                        self._work(rows, write, journal, progress or Progress(disable=True))
                    except EngineError:
                        # Rows that fail every time would else keep from the others what they have.
                        for row in rows:
                            if row.is_for_writer(self.attempts) or (self._judge and row.is_for_judge()):
                                row.failure = "the run gave up before its turn"
                        self._write_results(folder, rows)
                        raise
            return self._write_results(folder, rows)

    def _write_results(self, folder: Path, rows: Sequence[Row]) -> Report:
        looked_for = self._kind.written and not self._kind.gives_away_answer
        unknown = sum(answer_of(row.example) is None for row in rows) if looked_for else 0
        return write_results(folder, self.kind, rows, unknown)

    def _settings(self) -> dict[str, Any]:
        """Whatever decides what is written and kept."""
        if not self._kind.written:
            return {"kind": self.kind}
        if self.writer is None:
            raise ConfigError(f"privilege.writer: the kind {self.kind!r} needs a model to write it")
        written_with = self.writer.settings()
        if self.attempts > 1 and written_with.get("temperature") == 0:
            raise ConfigError(
                f"privilege.attempts: {self.attempts} hints at temperature 0 would be one and the same; raise "
                "privilege.writer.temperature"
            )
        return {
            "kind": self.kind,
            "template": self._template.source,
            "judge": self._judge.source if self._judge else None,
            "attempts": self.attempts,
            "max_words": self.max_words or self._kind.max_words,
            "language": self.language,
            "allowed_numbers": sorted(self.allowed_numbers),
            "writer": {"is": type(self.writer).__name__, **written_with},
        }

    def _work(self, rows: Sequence[Row], write: Write, journal: Journal, progress: Progress) -> None:
        """Judge what is to be judged and write what is to be written, until there is neither."""
        while True:
            if to_judge := self._for_judge(rows):
                self._ask(to_judge, write, journal, progress, judging=True)
            elif to_write := self._for_writer(rows):
                self._ask(to_write, write, journal, progress, judging=False)
            else:
                return

    def _for_judge(self, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row.is_for_judge()] if self._judge else []

    def _for_writer(self, rows: Sequence[Row]) -> list[Row]:
        """Those with the fewest attempts: the others wait for the next round."""
        left = [row for row in rows if row.is_for_writer(self.attempts)]
        fewest = min((len(row.attempts) for row in left), default=0)
        return [row for row in left if len(row.attempts) == fewest]

    def _ask(self, rows: list[Row], write: Write, journal: Journal, progress: Progress, *, judging: bool) -> None:
        attempt = len(rows[0].attempts) + (not judging)
        again = f", attempt {attempt}" if self.attempts > 1 else ""
        task = progress.add_task(("judging" if judging else "writing") + again, total=len(rows))
        messages = (self._message(row, row.hint if judging else None) for row in rows)
        failures = answered = 0
        with closing(write(messages)) as replies:
            for index, reply in replies:
                row = rows[index]
                record = self._judged(row, reply) if judging else self._written(row, reply)
                journal.append(record)
                row.apply(record)
                progress.advance(task)
                answered += 1
                failures = failures + 1 if row.failure is not None else 0
                if failures >= self.give_up_after:
                    raise EngineError(
                        f"privilege.writer: {failures} rows failed one after the other, the last since {row.failure}. "
                        f"What is done is in {journal.path}; the same command goes on from there, and past these rows "
                        "with a higher privilege.give_up_after"
                    )
        if answered < len(rows):  # to ask again could go on for ever
            raise EngineError(f"privilege.writer: {answered} replies to {len(rows)} messages")

    def _message(self, row: Row, hint: str | None = None) -> str:
        template = self._template if hint is None else self._judge
        assert template is not None
        language = None if self.language == ANY_LANGUAGE else self.language
        return template.render(row.example, row.where, kind=self.kind, language=language, hint=hint)

    def _written(self, row: Row, reply: Any) -> dict[str, Any]:
        if isinstance(reply, Failure):
            return row.failed(reply)
        return row.written(reply.text, reasons_against(reply.text, row.example, self._checks), reply.tokens)

    def _judged(self, row: Row, reply: Any) -> dict[str, Any]:
        if isinstance(reply, Failure):
            return row.failed(reply)
        try:
            return row.judged(read_verdict(reply.text), reply.tokens)
        except ValueError as error:
            return row.failed(Failure(str(error), reply.tokens))

    def _give(self, row: Row) -> None:
        """Fill in hints that need no writer; they need no place in the journal."""
        answer = answer_of(row.example)
        if self.kind == "answer" and answer is None:
            reason = Reason(NO_ANSWER, "the row has no 'answer', and its 'completion' marks none")
            row.apply(row.written("", [reason], Tokens()))
        else:
            row.apply(row.written(general_hint({"answer": answer}, self.kind) or "", [], Tokens()))


def _digest(example: Example, index: int) -> str:
    try:
        content = json.dumps(example, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"data.train[{index}]: cannot be written as JSON ({error})") from error
    return hashlib.sha256(content.encode()).hexdigest()[:16]
