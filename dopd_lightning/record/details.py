"""Details of tokens that take extra work: exact divergences to each source, and each policy's likeliest tokens."""

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
        student, sources: scores of the batch, the sources' by role.
        mask: ``(batch, response)``, true at response tokens.
        rollouts: rows of the batch.
        alternatives: how many of the likeliest tokens.
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
