"""Loss and token record of responses, from the views of each policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from dopd_lightning.distributed.processes import failing_together
from dopd_lightning.divergence import Divergence, Reduction, Target, loss_of
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.fusion import FusionRule, Thresholds, TokenStatistics, tables_of
from dopd_lightning.inputs import View
from dopd_lightning.record import TokenRecord
from dopd_lightning.record.details import token_details
from dopd_lightning.rollout import Rollouts
from dopd_lightning.scores import Scoring
from dopd_lightning.sources import RewardSource, ScoringRequest, ScoringSource, Source, policies_of


@dataclass(frozen=True)
class Wanted:
    """Request for details: rows of the batch, and the number of likeliest tokens."""

    rollouts: Sequence[int]
    alternatives: int


class Objective:
    """Score responses under each policy, apply the fusion rule, and reduce to the loss (the paper's objective).

    Args:
        fusion: the fusion rule.
        scoring: scores responses under policies.
        reduction: ``rollout`` or ``token``.
        end_ids: tokens that end a response.
        check: called with targets and divergences of the terms; raises for a biased one.
    """

    def __init__(
        self,
        fusion: FusionRule,
        scoring: Scoring,
        reduction: Reduction,
        end_ids: Sequence[int],
        check: Callable[[Sequence[tuple[Target, Divergence]]], None],
    ) -> None:
        self.fusion, self.scoring, self.reduction, self.end_ids, self.check = fusion, scoring, reduction, end_ids, check
        self.tables = tables_of(fusion)

    def __call__(
        self,
        student: PreTrainedModel,
        sources: Mapping[str, Source],
        views: Mapping[str, View],
        rollouts: Rollouts,
        wanted: Wanted | None = None,
        thresholds: Thresholds | None = None,
    ) -> tuple[Tensor, TokenRecord]:
        """Return the loss, a scalar with the student's graph, and the detached record.

        Args:
            student: the trained policy.
            sources: those that the rule needs, by name.
            views: inputs of the student and each source, by name.
            rollouts: the responses.
            wanted: request for details.
            thresholds: thresholds for a rule that routes, instead of those of these responses.
        """
        responses, tables = rollouts.responses, self.tables
        self.scoring.try_heads({"student": student, **policies_of(sources, student)})
        requests = {name: ScoringRequest(rollouts, views[name], self.scoring, tables.get(name, 0)) for name in sources}
        scoring = {name: source for name, source in sources.items() if isinstance(source, ScoringSource)}
        rewarding = {name: source for name, source in sources.items() if isinstance(source, RewardSource)}
        for name, rewarder in rewarding.items():
            rewarder.begin(requests[name])
        of_student = self.scoring(student, views["student"], responses, tables.get("student", 0), learns=True)
        of_sources = {name: source.scores(student, requests[name]) for name, source in scoring.items()}
        with failing_together((ConfigError, DataError), responses.ids.device):
            rewards = {name: source.rewards(student, requests[name]) for name, source in rewarding.items()}
        statistics = TokenStatistics(
            responses.own, responses.ids, of_student, of_sources, thresholds, self.end_ids, rewards, rollouts.group
        )
        supervision = self.fusion(statistics)
        self.check([(term.target, term.divergence) for term in supervision.terms])
        loss, per_token = loss_of(of_student, of_sources, supervision.terms, self.reduction)
        details = None
        if wanted is not None:
            details = token_details(of_student, of_sources, responses.own, wanted.rollouts, wanted.alternatives)
        pair = getattr(self.fusion, "gap_between", ("teacher", "reference"))
        return loss, TokenRecord(
            response_ids=responses.ids,
            mask=responses.own,
            loss=per_token,
            logp={name: statistics[name].logp for name in ("student", *scoring)},
            entropy={name: statistics[name].entropy for name in ("student", *scoring)},
            gap=statistics.gap_between(*pair) if scoring.keys() >= {*pair} else None,
            regimes=supervision.regimes,
            thresholds=supervision.thresholds,
            lengths=responses.mask.sum(dim=1),
            ended=rollouts.ended,
            examples=rollouts.examples,
            details=details,
            rewards=rewards,
            advantage=supervision.advantage,
        )
