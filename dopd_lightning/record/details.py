"""Token details that need extra computation: exact divergences to each source, likeliest tokens of each policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dopd_lightning.divergence import Divergence, Term, loss_of
from dopd_lightning.inputs.response_mask import scattered
from dopd_lightning.record import Likeliest, TokenDetails
from dopd_lightning.scores import Scores


@torch.no_grad()
def token_details(
    student: Scores,
    sources: Mapping[str, Scores],
    mask: Tensor,
    rollouts: Sequence[int],
    alternatives: int,
) -> TokenDetails:
    """Compute the details of some rollouts from the scores of the batch.

    Args:
        student: scores of the batch under the student.
        sources: scores of the batch under each source, by name.
        mask: ``(batch, response)``, true at response tokens.
        rollouts: rows of the batch.
        alternatives: number of likeliest tokens per policy.
    """
    chosen = torch.zeros_like(mask)
    chosen[list(rollouts)] = mask[list(rollouts)]
    tokens = chosen[mask].nonzero().squeeze(-1)
    divergence = {}
    for role, source in sources.items():
        term = Term(role, role, Divergence(kind="reverse_kl", support="full"), chosen.float())
        divergence[role] = loss_of(student, {role: source}, [term]).per_token[list(rollouts)]
    likeliest = {}
    for role, scores in {"student": student, **sources}.items():
        ids, logps = scores.likeliest(alternatives, tokens)
        likeliest[role] = Likeliest(*(scattered(each, chosen)[list(rollouts)] for each in (ids, logps.exp())))
    return TokenDetails(tuple(rollouts), divergence, likeliest)
