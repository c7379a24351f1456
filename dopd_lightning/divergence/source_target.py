"""A distribution as the target: one source's, or a pool of several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from dopd_lightning.divergence.formulas import divergence
from dopd_lightning.divergence.gradients import full_, one_token_, single_sample, top_k_
from dopd_lightning.divergence.settings import Divergence
from dopd_lightning.divergence.target import Chunk, Outcomes, Target
from dopd_lightning.scores import RowScores
from dopd_lightning.scores.distribution import at_ids
from dopd_lightning.scores.rows import tail_log_probability_


class DistributionTarget(Target):
    """Compares the student's distribution with another over the same vocabulary."""

    @abstractmethod
    def scores(self, sources: Mapping[str, RowScores]) -> RowScores:
        """Scores of the target."""

    @abstractmethod
    def logits(self, sources: Mapping[str, Tensor]) -> Tensor:
        """Logits of the target, ``(n, vocab)``, from those of the sources."""

    def of_logits(self, student: Tensor, ids: Tensor, sources: Mapping[str, Tensor], how: Divergence) -> Tensor:
        return divergence(student, self.logits(sources), sampled_ids=ids, **asdict(how))

    def needs_rows(self, sources: Mapping[str, RowScores], how: Divergence) -> bool:
        """Tell whether the whole distribution is needed, more than the scores keep of it."""
        return True

    def buffers(self, sources: Mapping[str, RowScores], how: Divergence) -> int:
        return 1 + self.scores(sources).buffers if self.needs_rows(sources, how) else 0

    def of_chunk(self, chunk: Chunk, sources: Mapping[str, RowScores], how: Divergence) -> tuple[Tensor, Tensor]:
        scores, student, ids = self.scores(sources), chunk.student, chunk.ids
        rows = None
        if self.needs_rows(sources, how):
            rows = scores.log_probs(chunk.tokens, chunk.spare[0], chunk.spare[1:])
        if how.support == "sampled":
            logp = scores.loss_logp[chunk.tokens] if rows is None else at_ids(rows, ids)
            value, by_logp = single_sample(at_ids(student, ids), logp, how.kind, how.beta)
            one_token_(student, ids, by_logp, chunk.out)
            return value, chunk.out
        if rows is None:
            table = scores.table(how.top_k, chunk.tokens)
            return top_k_(student, table.ids.long(), table.logps, table.tail_logp, how, chunk.out), chunk.out
        if how.support == "full":
            return full_(student, rows, how.kind, how.beta), rows
        top = (rows if how.top_k_of == "target" else student).topk(how.top_k).indices
        inside, tail = rows.gather(-1, top), tail_log_probability_(rows, top).squeeze(-1)
        return top_k_(student, top, inside, tail, how, rows), rows


@dataclass(frozen=True)
class Toward(DistributionTarget):
    """The distribution of one source.

    Attributes:
        name: the source's.

    Example:
        >>> sorted(Toward("maths").sources)
        ['maths']
    """

    name: str

    @property
    def sources(self) -> frozenset[str]:
        return frozenset({self.name})

    def scores(self, sources: Mapping[str, RowScores]) -> RowScores:
        return sources[self.name]

    def logits(self, sources: Mapping[str, Tensor]) -> Tensor:
        return sources[self.name]

    def needs_rows(self, sources: Mapping[str, RowScores], how: Divergence) -> bool:
        kept = how.support == "top_k" and how.top_k_of == "target" and sources[self.name].top_k >= how.top_k
        return not (kept or how.support == "sampled")

    def tables(self, how: Divergence) -> Mapping[str, int]:
        if how.support != "top_k":
            return {}
        if how.top_k_of == "target":
            return {self.name: how.top_k}
        return {"student": how.top_k} if how.tail == "renormalize" else {}  # a bucket needs all of the student anyway

    def keeps_outcomes(self, student: RowScores, sources: Mapping[str, RowScores], how: Divergence) -> bool:
        of = student if how.top_k_of == "student" else sources[self.name]
        return how.support == "top_k" and how.tail == "renormalize" and of.top_k >= how.top_k

    def kept_outcomes(
        self, tokens: Tensor, student: RowScores, sources: Mapping[str, RowScores], how: Divergence
    ) -> Outcomes:
        source = sources[self.name]
        if how.top_k_of == "student":
            ids = student.table(how.top_k, tokens).ids.long()
            return Outcomes(ids, source.log_probs_at(tokens, ids))
        table = source.table(how.top_k, tokens)
        return Outcomes(table.ids.long(), table.logps)
