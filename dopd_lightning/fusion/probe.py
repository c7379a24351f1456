"""The terms that a rule builds, known before there is a token: it is tried on some that are made up."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import alone
from dopd_lightning.divergence.term import Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.rule import FusionRule
from dopd_lightning.fusion.statistics import TokenStatistics

_ROLES = ("student", "teacher", "reference")
_SHAPE = (2, 16, 8)


def terms_of(rule: FusionRule) -> Sequence[Term]:
    """The rule's terms for tokens with random logits, whose weights mean nothing; none if it cannot work with these.

    A copy of the rule is called, the random state is left as it was, and no other process takes part.

    Raises:
        ConfigError: as the rule, such as for a source that it uses and does not name in ``needs``.
    """
    try:
        with torch.random.fork_rng(devices=[]), alone():
            return copy.deepcopy(rule)(_made_up(rule)).terms
    except ConfigError:
        raise
    except Exception:  # whatever a rule may expect of tokens; each step looks at its terms again
        return []


def _made_up(rule: FusionRule) -> TokenStatistics:
    generator = torch.Generator().manual_seed(0)
    student, *sources = (2 * torch.randn(_SHAPE, generator=generator) for _ in _ROLES)
    given: list[Tensor | None] = [
        logits if role in rule.needs else None for role, logits in zip(_ROLES[1:], sources, strict=True)
    ]
    ids, mask = torch.randint(_SHAPE[-1], _SHAPE[:2], generator=generator), torch.ones(_SHAPE[:2], dtype=torch.bool)
    return TokenStatistics.from_logits(student, given[0], given[1], ids, mask, end_ids=[0])


def tables_of(rule: FusionRule) -> dict[str, int]:
    """Policies whose top-K distributions the rule's terms compare, and the K.

    Their likeliest tokens are worth keeping from the pass that scores them, and need no second one.
    """
    sizes: dict[str, int] = {}
    for term in terms_of(rule):
        how = term.divergence
        if how.support != "top_k" or term.target not in _ROLES:  # a pool is made of whole distributions
            continue
        role = str(term.target) if how.top_k_of == "target" else "student"
        if role != "student" or how.tail == "renormalize":  # a bucket needs all of the student anyway
            sizes[role] = max(how.top_k, sizes.get(role, 0))
    return sizes
