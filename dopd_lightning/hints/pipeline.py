"""Pipeline from rows to hints: write, check, rewrite, judge. Each step is in the journal before the next begins."""

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
    """Pipeline that writes hints of one kind for examples, and keeps the hints that pass the checks.

    Args:
        writer: chat model; not needed for the kinds ``answer`` and ``none``.
        kind: kind of hint, of :data:`~dopd_lightning.data.tasks.HINT_KINDS`.
        template: prompt for a hint: name of a template in the package, or path of a Jinja file; ``None`` for the
            template with the name of the kind.
        judge: prompt for a verdict on each hint that passed the other checks: the same choice of templates (the package
            has ``judge``); ``None`` for no verdicts.
        attempts: limit on the number of hints for a row; writing stops at the first hint that passes.
        max_words: limit on the words of a hint; ``None`` for the limit of the kind.
        language: ISO 639 code of the hints' language; ``None`` for that of the question, ``any`` for no check.
        allowed_numbers: numbers that a hint may contain even if the question does not.
        give_up_after: number of consecutive failed rows after which the run stops.

    Raises:
        ConfigError: for invalid settings.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     report = HintPipeline(kind="answer").run([{"prompt": "1 + 1 = ?", "answer": 2}], Path(folder))
        ...     print(report.kept, Path(folder, "hints.jsonl").read_text())
        1 {"prompt": "1 + 1 = ?", "answer": 2, "privileged": "The final answer is 2."}
        <BLANKLINE>
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
                raise ConfigError(f"allowed_numbers: {number!r} is not a number")
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
        """Write a hint for each example, or continue an earlier run in ``folder``.

        Files in ``folder``: ``hints.jsonl``, examples with ``privileged``, in order; ``dropped.jsonl``, all other
        examples, with reasons; ``report.json``; and the journal.

        Args:
            examples: examples; each ends up in exactly one of the first two files.
            folder: existing folder.
            progress: display of the run's progress.

        Raises:
            ConfigError: if the writer cannot be reached or denies access, or the journal has other settings.
            DataError: if an example lacks a value that the template needs, or the journal has other examples.
            EngineError: if ``give_up_after`` consecutive rows fail; the files then hold the results so far.
        """
        rows = [Row(index, example, _digest(example, index)) for index, example in enumerate(examples)]
        if not rows:
            raise DataError("data.train: there are no rows")
        if self.kind == "answer" and all(answer_of(row.example) is None for row in rows):
            raise DataError(
                f"data.train: none of {len(rows)} rows has an 'answer', or a 'completion' that marks one, which "
                "kind=answer needs; columns={answer: …} names its column"
            )
        if self._kind.written:
            for row in rows:  # errors come before the first request, which may cost money
                self._message(row)
                if self._judge is not None:
                    self._message(row, "")
        with open_journal(folder / JOURNAL, self._settings(), [row.digest for row in rows]) as journal:
            for record in journal.records:
                rows[record["row"]].apply(record)
            for row in rows:
                row.failure = None  # it is tried again
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
                        # Rows that always fail must not keep other rows from their hints.
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
        """Return the settings that determine which hints are written and kept."""
        if not self._kind.written:
            return {"kind": self.kind}
        if self.writer is None:
            raise ConfigError(f"privilege.writer: the kind {self.kind!r} needs a model to write it")
        written_with = self.writer.settings()
        if self.attempts > 1 and written_with.get("temperature") == 0:
            raise ConfigError(
                f"privilege.attempts: {self.attempts} hints at temperature 0 would be identical; raise "
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
        """Let the judge read hints and the writer write them, until no row needs either."""
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
        """Return the rows with the fewest attempts; the others wait for the next round."""
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
                        f"privilege.writer: {failures} consecutive rows failed, the last one with: {row.failure}. "
                        f"Finished rows are in {journal.path}; the same command continues from there, and gets past "
                        "the failing rows with a higher privilege.give_up_after"
                    )
        if answered < len(rows):  # asking again might never end
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
        """Give a row a hint that needs no writer, and therefore no journal."""
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
